import json
from pathlib import Path

import pytest

from sidecar.bundle.summary import lines, summarise
from sidecar.errors import BundleError


def test_a_summary_is_plain_data(tiny_bundle: Path) -> None:
    summary = summarise(tiny_bundle)
    assert json.loads(json.dumps(summary)) == summary
    assert summary["model"]["opset"] == 17
    assert [candidate["name"] for candidate in summary["candidates"]] == ["small", "medium", "large"]
    assert summary["bytes"] == sum(
        path.stat().st_size for path in tiny_bundle.iterdir() if path.name != "manifest.json"
    )


def test_the_lines_show_what_an_operator_asks_for(tiny_bundle: Path) -> None:
    text = "\n".join(lines(summarise(tiny_bundle)))
    for part in ("tiny 1 (static)", "sha256:", "operator set 17", "3 prompts in 2 segments", "ece 0.01"):
        assert part in text
    assert "large       0.900      200     5.0000    15.0000" in text
    assert text.endswith("Built by the tests.")


def test_the_author_of_a_bundle_cannot_steer_the_terminal(tiny_bundle: Path) -> None:
    summary = summarise(tiny_bundle) | {"model_card": "fine\nbut \x1b[2J\u202e", "created": "\r\x07"}
    assert all(line.isprintable() for line in lines(summary))


def test_a_broken_bundle_has_no_summary(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"manifest.json: is missing"):
        summarise(tmp_path)
