"""What the command line asks for, as a way to train."""

import sys
from typing import Any

import pytest

from export.errors import DataError
from export.families import training_of
from export.train import Options


def test_options_reach_the_training() -> None:
    training = training_of("static", 3, {"max_chars": 99, "shrink_floor": 0.0, "folds": 7})
    assert isinstance(training, Options)
    assert training.folds == 7
    assert (training.seed, training.recipe.max_chars, training.shrinkage["floor"]) == (3, 99, 0.0)
    assert training.shrinkage["power"] == Options().shrinkage["power"]


@pytest.mark.parametrize(
    ("family", "given", "option"),
    [
        ("static", {"base": "minilm"}, "--base"),
        ("static", {"keep_fp32": True}, "--keep-fp32"),
        ("static", {"tune_layers": 2}, "--tune-layers"),
        ("static", {"tune_rate": 1e-4}, "--tune-rate"),
        ("encoder", {"distill_from": "somewhere"}, "--distill-from"),
        ("encoder", {"unlabelled": ("a",)}, "--unlabelled"),
    ],
)
def test_an_option_of_another_family_is_refused(family: str, given: dict[str, Any], option: str) -> None:
    with pytest.raises(DataError, match=f"{option}: has no meaning with --family {family}"):
        training_of(family, 0, given)


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("export.encoder")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(DataError, match=r"package torch is missing; install router-sidecar\[train,encoder\]"):
        training_of("encoder", 0, {})
