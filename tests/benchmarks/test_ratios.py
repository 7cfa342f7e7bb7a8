import pytest

from benchmarks.ratios import COMPARISONS, Comparison, Turn, alternate, compared, ratio
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


def filled(*figures: tuple[tuple[str, int], float]) -> dict[tuple[str, int], Turn]:
    made = {}
    for (subject, in_flight), figure in figures:
        made[subject, in_flight] = Turn(subject, in_flight, dict)
        made[subject, in_flight].rows = [{"per_second": figure, "p50_us": figure, "errors": {}}]
    return made


def pair(subject: str) -> Comparison:
    return next(each for each in COMPARISONS if each.subject == subject)


def test_ratios_are_judged_by_their_targets_and_those_that_cannot_be_taken_are_told() -> None:
    route, alone = pair("Route: http2 / other checkout"), pair("p50 alone: Route, http2 / other checkout")
    figures = filled((route.above, 180.0), (route.below, 100.0), (alone.above, 0.66), (alone.below, 1.0))
    rows, notes = compared(figures, another=True)
    judged = {row["subject"]: (row["ratio"], row["verdict"]) for row in rows}
    assert judged == {route.subject: (1.8, "met"), alone.subject: (0.66, "MISSED")}
    assert len(notes) == len(COMPARISONS) - 2


def test_another_checkout_is_not_missed_where_none_was_asked_for() -> None:
    rows, notes = compared({}, another=False)
    assert rows == []
    assert not any("other checkout" in note for note in notes)
