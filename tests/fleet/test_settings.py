from typing import Any

import msgspec
import pytest

from sidecar.errors import ConfigError
from sidecar.fleet.settings import BreakerConfig, BudgetConfig, FleetConfig, check_budgets


def test_the_defaults_fit_together() -> None:
    assert FleetConfig().checked() == FleetConfig()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_open": 1000}, r"fleet\.max_open is 1000: give a power of two"),
        ({"min_expiry_seconds": 50.0, "max_expiry_seconds": 20.0}, r"fleet\.max_expiry_seconds is 20"),
        ({"breaker": BreakerConfig(first_backoff_seconds=9.0)}, r"fleet\.breaker\.max_backoff_seconds is 3"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FleetConfig(**changes).checked()


@pytest.mark.parametrize(
    "raw",
    [
        {"merge_ms": -1.0},
        {"unheard_of": 1},
        {"dead_after_seconds": 0.5},
        {"breaker": {"error_rate": 1.5}},
        {"breaker": {"slow_start_from": 0.0}},
        {"prior_weight": 0.0},
    ],
)
def test_values_out_of_range_and_unknown_keys_are_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(raw, FleetConfig)


def test_sound_budgets_pass() -> None:
    budgets = (
        BudgetConfig(name="a", candidates=("x",), requests_per_minute=6.0),
        BudgetConfig(name="b", usd_per_day=5.0),
    )
    check_budgets(budgets)
    check_budgets(budgets, ["x", "y"])


@pytest.mark.parametrize(
    ("budgets", "message"),
    [
        ([BudgetConfig(name="", usd_per_day=1.0)], "give every budget a name"),
        ([BudgetConfig(name="a", usd_per_day=1.0)] * 2, r"budgets\.a: two have this name"),
        ([BudgetConfig(name="a")], r"budgets\.a: limits nothing"),
        ([BudgetConfig(name="a", requests_per_minute=1.0)], "give at least 60"),
        ([BudgetConfig(name="a", tokens_per_minute=3.0)], "give at least 20"),
        ([BudgetConfig(name="a", usd_per_day=1.0, candidates=("z",))], "'z' is unknown; known are x, y"),
    ],
)
def test_unsound_budgets_are_refused_by_name(budgets: list[BudgetConfig], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_budgets(budgets, ["y", "x"])
