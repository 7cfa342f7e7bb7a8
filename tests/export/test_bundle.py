"""Bundles as exported: whole or not at all, and scoring what training scored."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.bundle import Label, write_bundle
from export.card import GOLDEN_TEXTS
from export.errors import DataError
from export.outcomes import Outcomes
from export.prices import Price
from export.serve import forecast_of
from export.train import Options, Trained
from sidecar.bundle.load import Bundle, load
from sidecar.bundle.verify import verify

PRICES = (Price(0.1, 0.4), Price(5.0, 15.0))
OPTIONS = Options(max_tokens=64)
LABEL = Label("tiny", "2", "made up", "none", "Only for tests.")


@pytest.fixture(scope="module")
def bundle(bundle_directory: Path) -> Bundle:
    return load(bundle_directory)


def test_says_what_it_is(bundle: Bundle, outcomes: Outcomes) -> None:
    manifest = bundle.manifest
    assert (manifest.name, manifest.version, manifest.family) == ("tiny", "1", "static")
    assert [c.name for c in manifest.candidates] == ["small", "large"]
    assert [c.output_usd_per_mtok for c in manifest.candidates] == [0.4, 15.0]
    assert manifest.training_data.sha256 == outcomes.sha256
    assert sum(manifest.training_data.segments.values()) == manifest.training_data.rows == 240
    assert "made up" in manifest.model_card
    assert "Only for tests." in manifest.model_card
    assert manifest.metrics["export_parity"] <= 1e-4


def test_holds_golden_vectors_of_our_own_words(bundle_directory: Path) -> None:
    verify(bundle_directory)
    golden = (bundle_directory / "golden.json").read_text(encoding="utf-8")
    assert golden.count('"text"') == len(GOLDEN_TEXTS) > 8


def test_serves_what_training_scored(bundle: Bundle, trained: Trained, fresh_outcomes: Outcomes) -> None:
    served = forecast_of(bundle, fresh_outcomes.prompts)
    expected = trained.scores([" ".join(prompt.lower().split()) for prompt in fresh_outcomes.prompts], 64)
    np.testing.assert_allclose(served.unshrunk, expected[0], atol=1e-4)
    np.testing.assert_allclose(served.output_tokens, expected[2], rtol=1e-3)


def test_gibberish_is_novel_and_its_differences_shrink(bundle: Bundle) -> None:
    prior = np.diff([candidate.prior_quality for candidate in bundle.manifest.candidates])
    strange = forecast_of(bundle, ["\u4f60\u597d \u4e16\u754c " * 30, "zxqv 0x9f ~~ || qqq " * 30])
    assert strange.novelty.min() > 0.95
    np.testing.assert_allclose(np.diff(strange.quality, axis=1)[:, 0], prior[0], atol=0.05)


@given(st.text(max_size=300).filter(lambda text: bool(text.strip())))
def test_any_text_gets_a_probability(bundle: Bundle, text: str) -> None:
    scores = bundle.scorer([text])
    assert ((scores.quality >= 0) & (scores.quality <= 1)).all()
    assert (scores.output_tokens >= 0).all()
    assert 0 <= scores.novelty[0] < 1


def test_a_used_directory_is_refused(tmp_path: Path, trained: Trained, outcomes: Outcomes) -> None:
    (tmp_path / "keep").touch()
    with pytest.raises(DataError, match=r"--out: .* is not empty"):
        write_bundle(tmp_path, trained, outcomes, PRICES, OPTIONS, LABEL)
    assert [path.name for path in tmp_path.iterdir()] == ["keep"]


def test_an_empty_directory_is_used(tmp_path: Path, trained: Trained, outcomes: Outcomes) -> None:
    directory = tmp_path / "new"
    directory.mkdir()
    write_bundle(directory, trained, outcomes, PRICES, OPTIONS, LABEL)
    assert load(directory).manifest.version == "2"
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_a_broken_export_leaves_nothing_behind(tmp_path: Path, trained: Trained, outcomes: Outcomes) -> None:
    reference = {**trained.reference, "null": np.full(3, np.nan, np.float32)}
    with pytest.raises(Exception, match="not finite"):
        write_bundle(tmp_path / "b", replace(trained, reference=reference), outcomes, PRICES, OPTIONS, LABEL)
    assert not list(tmp_path.iterdir())


def test_a_name_that_no_manifest_may_hold(tmp_path: Path, trained: Trained, outcomes: Outcomes) -> None:
    with pytest.raises(DataError, match="letters, digits"):
        write_bundle(tmp_path / "b", trained, outcomes, PRICES, OPTIONS, replace(LABEL, name="no spaces"))


def test_scores_that_differ_from_training_are_refused(
    tmp_path: Path, trained: Trained, outcomes: Outcomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(OPTIONS, max_tokens=63)
    shorter = replace(trained, windows=tuple("simmer " * 64 for _ in range(3)))
    write_bundle(tmp_path / "same", shorter, outcomes, PRICES, options, LABEL)  # cut alike on both sides

    monkeypatch.setattr(Trained, "scores", lambda *_: (np.full((3, 2), 0.123, np.float32),))
    with pytest.raises(DataError, match="differ from those of training"):
        write_bundle(tmp_path / "b", shorter, outcomes, PRICES, OPTIONS, LABEL)
