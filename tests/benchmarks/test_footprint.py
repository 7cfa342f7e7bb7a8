import pytest

from benchmarks.footprint import MOST_START_S, spread


@pytest.mark.parametrize(("values", "verdict"), [([0.4, 0.49, 2.0], "met"), ([0.4, 0.5, 0.6], "MISSED")])
def test_starts_are_judged_by_their_median(values: list[float], verdict: str) -> None:
    row = spread("start", values, MOST_START_S)
    assert (row["lowest"], row["highest"], row["verdict"]) == (min(values), max(values), verdict)
