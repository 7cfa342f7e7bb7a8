"""Choices on recorded outcomes, against cases worked out by hand; and the curve made of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.choices import Forecast, Ground, ground
from export.curve import trace
from export.outcomes import Outcomes
from export.prices import Price

NAN = float("nan")


def outcomes_of(quality: list[list[float]], tokens: float = 100.0, segments: list[str] | None = None) -> Outcomes:
    values = np.array(quality, np.float32)
    rows = len(values)
    return Outcomes(
        tuple(f"prompt {i}" for i in range(rows)),
        tuple(f"c{i}" for i in range(values.shape[1])),
        values,
        np.full(values.shape, tokens, np.float32),
        np.full(rows, 1000.0, np.float32),
        np.array(segments or ["s"] * rows),
        np.full(rows, ""),
        np.arange(rows),
        np.zeros(rows, np.bool_),
        "0" * 64,
    )


def forecast_of(quality: list[list[float]], tokens: float = 100.0) -> Forecast:
    values = np.array(quality, np.float32)
    return Forecast(
        values, values, np.full(values.shape, tokens, np.float32), values, np.zeros(len(values), np.float32)
    )


def _ground(quality: list[list[float]]) -> Ground:
    # A call costs 1000 * 1 / 1e6 + 100 * 10 / 1e6 = 0.002 USD, ten times that for the second candidate.
    return ground(outcomes_of(quality), [Price(1.0, 10.0), Price(10.0, 100.0)], np.zeros(2, np.float32))


def test_costs_by_hand() -> None:
    np.testing.assert_allclose(_ground([[1.0, 0.0]]).cost, [[0.002, 0.02]])


def test_unknown_lengths_cost_the_candidates_mean() -> None:
    outcomes = outcomes_of([[1.0, 0.0]] * 3)
    outcomes.output_tokens[:] = [[50, NAN], [150, NAN], [NAN, NAN]]
    costs = ground(outcomes, [Price(0.0, 10.0)] * 2, np.array([7.0, 300.0], np.float32)).cost
    np.testing.assert_allclose(costs, [[0.0005, 0.003], [0.0015, 0.003], [0.001, 0.003]])


def test_chooses_by_the_worth_of_an_answer() -> None:
    basis, forecast = _ground([[0.0, 1.0]]), forecast_of([[0.5, 0.9]])
    # The second is worth .4 * v more and costs .018 more: even at v = .045.
    assert basis.choose(forecast, 0.044).tolist() == [0]
    assert basis.choose(forecast, 0.046).tolist() == [1]


def test_never_chooses_what_was_not_run() -> None:
    basis = _ground([[0.0, NAN], [NAN, 1.0]])
    assert basis.choose(forecast_of([[0.1, 0.9], [0.9, 0.1]]), 1.0).tolist() == [0, 1]


def test_singles_count_only_where_they_were_run() -> None:
    basis = _ground([[0.0, NAN], [1.0, 1.0]])
    assert basis.single_quality().tolist() == [0.5, 1.0]
    np.testing.assert_allclose(basis.single_cost(), [0.002, 0.02])
    assert basis.oracle_quality() == 0.5


def test_the_curve_runs_from_the_cheapest_to_the_best_forecast() -> None:
    curve = trace(_ground([[0.0, 1.0], [1.0, 1.0]]), forecast_of([[0.2, 0.9], [0.8, 0.9]]))
    assert (curve.quality[0], curve.cost_usd[0]) == (0.5, pytest.approx(0.002))
    assert (curve.quality[-1], curve.cost_usd[-1]) == (1.0, pytest.approx(0.02))
    assert curve.max_quality == 1.0
    # In between only the first prompt goes to the dear candidate.
    assert curve.cost_at(1.0) == pytest.approx(0.011)
    assert curve.cost_at(0.4) == pytest.approx(0.002)
    assert curve.cost_at(1.01) is None


_UNIT = st.floats(0.0, 1.0, width=32)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(_UNIT, _UNIT, st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0])), min_size=1, max_size=8)
)
def test_expected_quality_and_cost_rise_with_the_worth_of_an_answer(
    rows: list[tuple[float, float, float, float]],
) -> None:
    forecast = forecast_of([[a, b] for a, b, _, _ in rows])
    basis = _ground([[c, d] for _, _, c, d in rows])
    curve = trace(basis, forecast)
    assert (np.diff(curve.cost_usd) >= -1e-12).all()  # realised lengths are the expected ones here
    expected = [
        np.take_along_axis(forecast.quality, basis.choose(forecast, v)[:, None], 1).mean() for v in (1e-4, 1e-2, 1.0)
    ]
    assert (np.diff(expected) >= -1e-6).all()
