import pytest

from benchmarks.ratios import Turn, alternate, ratio
from benchmarks.samples import Row


def turn(name: str, figures: list[float], log: list[str]) -> Turn:
    remaining = iter(figures)

    def take() -> Row:
        log.append(name)
        return {"per_second": next(remaining), "errors": {"UNAVAILABLE": 1}}

    return Turn(name, 1, take)


def test_servers_take_turns_in_one_order_and_then_in_the_other() -> None:
    log: list[str] = []
    alternate([turn(name, [1.0] * 3, log) for name in "abc"], 3)
    assert "".join(log) == "abc" + "cba" + "abc"


def test_a_ratio_is_taken_within_each_round_so_that_drift_cancels() -> None:
    log: list[str] = []
    # The machine becomes three times as fast: medians of the columns alone would say 1.0 to 3.0.
    above, below = turn("above", [100.0, 200.0, 300.0], log), turn("below", [50.0, 100.0, 150.0], log)
    alternate([above, below], 3)
    assert ratio(above, below, "per_second") == (2.0, 2.0, 2.0)


def test_a_row_holds_medians_and_all_errors() -> None:
    measured = turn("a", [1.0, 9.0, 2.0], [])
    alternate([measured], 3)
    row = measured.row()
    assert (row["per_second"], row["rounds"], row["errors"]) == (2.0, 3, {"UNAVAILABLE": 3})
    assert "p50_us" not in row


def test_unequal_rounds_are_a_mistake() -> None:
    long, short = turn("a", [1.0, 1.0], []), turn("b", [1.0], [])
    alternate([long], 2)
    alternate([short], 1)
    with pytest.raises(ValueError, match="zip"):
        ratio(long, short, "per_second")
