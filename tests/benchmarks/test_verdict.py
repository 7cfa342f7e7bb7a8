import pytest

from benchmarks.verdict import at_least, at_most, verdict


@pytest.mark.parametrize(
    ("value", "target", "expected"),
    [
        (0, at_most(0), "met"),
        (1, at_most(0), "MISSED"),
        (1.5, at_most(1.5), "met"),
        (100.0, "< 100", "MISSED"),
        (0.9, at_least(0.9), "met"),
        (0.89, at_least(0.9), "MISSED"),
    ],
)
def test_a_figure_meets_its_target_or_misses_it(value: float, target: str, expected: str) -> None:
    row = verdict("something", value, target)
    assert (row["value"], row["target"], row["verdict"]) == (value, target, expected)


def test_what_has_no_target_or_could_not_be_measured_gets_no_verdict() -> None:
    assert verdict("something", 3.0, "")["verdict"] == "-"
    assert verdict("something", None, at_most(1))["verdict"] == "-"
