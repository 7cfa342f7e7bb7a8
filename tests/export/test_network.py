"""The network learns, reproducibly, from the labels there are."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from export.network import Network, Settings, Targets, _Model, sigmoid, stack, train_network

ROWS, PIECES = 300, 12
SETTINGS = Settings(hidden=8, steps=300, dropout=0.1, forget=0.0, decay=0.01)


def _data() -> tuple[sp.csr_matrix, np.ndarray, Targets]:
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, ROWS)
    counts = rng.poisson(0.3, (ROWS, PIECES)).astype(np.float32)
    counts[np.arange(ROWS), 2 + kind] += 3.0
    columns = rng.normal(size=(PIECES, 3)).astype(np.float32)
    quality = np.stack([kind, 1 - kind, np.ones(ROWS)], axis=1).astype(np.float32)
    quality[::3, 1] = np.nan
    return sp.csr_matrix(counts), columns, Targets(quality, np.full((ROWS, 3), 0.25, np.float32), (kind,))


def _train(targets: Targets | None = None, seed: int = 0, settings: Settings = SETTINGS) -> Network:
    scaled, columns, given = _data()
    return train_network(scaled, columns, targets or given, settings, seed, lambda: None)


def test_learns_quality_and_length() -> None:
    scaled, _, targets = _data()
    chances = sigmoid(_train().logits(scaled))
    known = ~np.isnan(targets.quality)
    assert ((chances[:, :3] > 0.5) == (targets.quality > 0.5))[known].mean() > 0.97
    assert chances[:, 3:].mean() == pytest.approx(0.25, abs=0.05)


def test_equal_seeds_give_equal_networks() -> None:
    first, again, other = _train(seed=1), _train(seed=1), _train(seed=2)
    np.testing.assert_array_equal(first.table, again.table)
    np.testing.assert_array_equal(first.head, again.head)
    assert (first.head != other.head).any()


def test_missing_labels_are_masked_not_zeroed() -> None:
    scaled, _, targets = _data()
    holes = targets.quality.copy()
    holes[np.random.default_rng(3).random(ROWS) < 0.7, 2] = np.nan  # the third candidate is always right where known
    chances = sigmoid(_train(replace(targets, quality=holes)).logits(scaled))
    assert chances[:, 2].mean() > 0.95


def test_what_stands_at_a_missing_label_does_not_matter() -> None:
    _, _, targets = _data()
    lengths = targets.lengths.copy()
    lengths[:, 2] = np.nan
    network = _train(replace(targets, lengths=lengths))
    assert np.isfinite(network.head).all()


def test_calls_progress_after_each_epoch() -> None:
    scaled, columns, targets = _data()
    calls: list[int] = []
    train_network(scaled, columns, targets, SETTINGS, 0, lambda: calls.append(1))
    assert len(calls) == SETTINGS.epochs(ROWS)


def test_epochs_follow_from_steps_within_bounds() -> None:
    assert Settings(steps=1000).epochs(6400) == 20
    assert Settings(steps=1000).epochs(100) == 40
    assert Settings(steps=1000).epochs(10**6) == 6


def test_a_stack_says_the_mean_of_its_members() -> None:
    scaled, _, _ = _data()
    members = [_train(seed=seed) for seed in (0, 1)]
    expected = np.mean([member.logits(scaled) for member in members], axis=0)
    np.testing.assert_allclose(stack(members).logits(scaled), expected, atol=1e-5)


def test_sigmoid_does_not_overflow() -> None:
    assert sigmoid(np.array([-1e4, 0.0, 1e4], np.float32)).tolist() == [0.0, 0.5, 1.0]


def test_an_unknown_segment_teaches_nothing() -> None:
    quality = np.full((2, 1), np.nan, np.float32)
    labels = np.array([-1, 1])
    targets = Targets(quality, quality, (labels,))
    model = _Model(np.random.default_rng(0), 3, 2, targets, Settings(hidden=4))
    error = model._error(np.zeros((2, 4), np.float32), targets)
    assert not error[0].any()
    np.testing.assert_allclose(error[1], [0.0, 0.0, 0.5, -0.5])
