"""Fine-tuning: it learns, keeps its best epoch, decays towards where it began, and says when it diverges."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from export.encoder.base import read_base
from export.encoder.heads import Heads, HeadSettings, Loss, standardised, train_heads
from export.encoder.states import read_states
from export.encoder.tuning import Material, Tuned, TuneSettings, tune
from export.encoder.upper import Upper
from export.encoder.vectors import Vectors
from export.errors import DataError
from export.outcomes import Outcomes
from export.targets import targets_of
from export.windows import windows_of
from sidecar.scoring.recipe import TextRecipe

pytestmark = pytest.mark.encoder
SETTINGS = TuneSettings(layers=2, epochs=2, batch=16, rate=5e-3, head_rate=1e-3, dropout=0.0)
HEADS = HeadSettings(hidden=16, steps=60, forget=0.1, dropout=0.1, rate=5e-3)


class _Start:
    """Layers, heads and material of the made-up outcomes' first 160 rows."""

    def __init__(self, base: Path, outcomes: Outcomes, home: Path) -> None:
        vectors = Vectors(read_base(str(base)))
        rows = vectors.rows(windows_of(TextRecipe(), outcomes.prompts), 48)
        self.upper = Upper(vectors.pooling, 2)
        values, states = read_states(vectors.pooling, rows, 0, home / "states")
        targets = targets_of(outcomes)[0]
        self.learnt = np.arange(160)
        scaled = standardised(values[self.learnt])
        self.material = Material(values, states, scaled, Loss(targets, HEADS), self.learnt)
        known = scaled(values[self.learnt])
        self.heads = [train_heads(known, targets.take(self.learnt), HEADS, seed) for seed in (0, 1)]

    def loss(self, upper: Upper, heads: Sequence[Heads]) -> float:
        """Of the rows that were learnt from."""
        values = upper.of(self.material.values, self.material.states, self.learnt, 32)
        with torch.inference_mode():
            features = self.material.scaled(values)
            return float(sum(self.material.loss(each(features), torch.from_numpy(self.learnt)) for each in heads))

    def tuned(self, settings: TuneSettings = SETTINGS, seed: int = 0, epochs: int = 2) -> Tuned:
        return tune(self.upper, self.heads, self.material, settings, seed, epochs)


@pytest.fixture(scope="module")
def start(base_directory: Path, outcomes: Outcomes, tmp_path_factory: pytest.TempPathFactory) -> _Start:
    torch.set_num_threads(1)  # layers this small are slower on two
    return _Start(base_directory, outcomes, tmp_path_factory.mktemp("tuning"))


def _weights(upper: Upper, layer: int) -> np.ndarray:
    return np.concatenate([each.detach().numpy().ravel() for each in upper.layers[layer].parameters()])


def _moved(start: _Start, tuned: Tuned, layer: int) -> float:
    return float(np.abs(_weights(tuned.upper, layer) - _weights(start.upper, layer)).max())


def test_learns_more_than_heads_alone_and_leaves_what_it_was_given(start: _Start) -> None:
    before, weights = start.loss(start.upper, start.heads), _weights(start.upper, 0)
    slow = replace(SETTINGS, rate=1e-12)  # so that only the heads learn
    tuned = start.tuned(epochs=2)
    assert tuned.epochs == 2
    assert start.loss(tuned.upper, tuned.heads) < start.loss(*start.tuned(slow)[:2]) - 0.05 < before
    assert start.loss(start.upper, start.heads) == before
    np.testing.assert_array_equal(_weights(start.upper, 0), weights)


def test_equal_seeds_give_equal_weights_and_others_do_not(start: _Start) -> None:
    lively = replace(SETTINGS, dropout=0.2)
    one, same, other = (start.tuned(lively, seed, epochs=1) for seed in (3, 3, 4))
    np.testing.assert_array_equal(_weights(one.upper, 1), _weights(same.upper, 1))
    assert not np.array_equal(_weights(one.upper, 1), _weights(other.upper, 1))


def test_the_seed_of_others_is_left_alone(start: _Start) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    start.tuned(epochs=1)
    assert torch.rand(1) == expected


@pytest.mark.parametrize(
    ("said", "kept", "tried"),
    [([0.5, 0.6, 0.1], 0, 2), ([0.5, 0.4, 0.45, 0.1], 1, 3), ([0.5, 0.4, 0.3, 0.2], 3, 4), ([0.5, 0.5], 0, 2)],
)
def test_the_best_epoch_is_kept_and_the_first_worse_one_ends_it(
    start: _Start, said: list[float], kept: int, tried: int
) -> None:
    seen = []

    def judge(upper: Upper, heads: Sequence[Heads]) -> float:
        assert not upper.training
        assert not any(each.training for each in heads)
        seen.append(_weights(upper, 1))
        return said[len(seen) - 1]

    settings, calls = replace(SETTINGS, epochs=3), []
    tuned = tune(start.upper, start.heads, start.material, settings, 0, 3, judge, lambda: calls.append(1))
    assert (tuned.epochs, tuned.scores, len(calls)) == (kept, said[:tried], tried - 1)
    np.testing.assert_array_equal(_weights(tuned.upper, 1), seen[kept])
    # As many epochs without a judge lead to the same weights.
    np.testing.assert_array_equal(_weights(tuned.upper, 1), _weights(start.tuned(settings, epochs=kept).upper, 1))


def test_lower_layers_learn_more_slowly(start: _Start) -> None:
    tuned = start.tuned(replace(SETTINGS, layer_decay=0.01, pull=0.0), epochs=1)
    assert 0.0 < _moved(start, tuned, 0) < 0.1 * _moved(start, tuned, 1)


def test_weights_are_drawn_to_where_they_began(start: _Start) -> None:
    free, drawn, held = (start.tuned(replace(SETTINGS, pull=pull), epochs=1) for pull in (0.0, 100.0, 1e9))
    assert _moved(start, drawn, 1) < 0.7 * _moved(start, free, 1)
    # The last step's rate is nearly zero, so what it does is not drawn back.
    assert _moved(start, held, 1) < 0.05 * _moved(start, free, 1)


def test_every_row_and_no_other_is_learnt_from(start: _Start) -> None:
    seen: list[int] = []

    def loss(logits: Any, rows: Any) -> Any:
        seen.extend(rows.tolist())
        return start.material.loss(logits, rows)

    rows = np.array([5, 9, 2, 77, 150, *range(90, 125)])
    material = start.material._replace(loss=loss, rows=rows)  # type: ignore[arg-type]  # it is only called
    tune(start.upper, start.heads[:1], material, SETTINGS, 0, 2)
    assert sorted(seen) == sorted([*rows, *rows])


def test_a_diverging_run_is_told(start: _Start) -> None:
    with pytest.raises(DataError, match=r"--tune-layers: .* is no number in epoch [12]; .*--tune-rate"):
        start.tuned(replace(SETTINGS, rate=1e30, pull=0.0))
