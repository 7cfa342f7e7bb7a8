from pathlib import Path

import pytest

from benchmarks.arrivals import HALF_OF_PEAK, arrival_verdicts
from benchmarks.checkout import Checkout
from benchmarks.footprint import MOST_START_S, spread
from benchmarks.samples import Row


def arrived(subject: str, rate: float, us: float) -> Row:
    columns = ("queue_p99_us", "queueing_p99_us", "p50_us", "p99_us", "total_p50_us", "total_p99_us")
    return {"subject": subject, "rate": rate, **dict.fromkeys(columns, us)}


def test_half_of_peak_is_judged_from_outside_and_by_the_servers_own_count() -> None:
    rows = arrival_verdicts([arrived(f"{HALF_OF_PEAK}, Poisson 7000/s", 7000.0, 1200.0)]).rows
    assert [row["verdict"] for row in rows] == ["MISSED", "met", "-", "MISSED"]


def test_queueing_is_judged_at_the_worst_of_the_rates_in_question() -> None:
    rows = arrival_verdicts([arrived("Poisson 12/s", 12.0, 1200.0), arrived("Poisson 30/s", 30.0, 10.0)]).rows
    assert [(row["value"], row["verdict"]) for row in rows] == [(1200.0, "MISSED")] * 2
    assert arrival_verdicts([arrived("Poisson 77/s", 77.0, 1.0)]).rows == []


@pytest.mark.parametrize(("values", "verdict"), [([0.4, 0.49, 2.0], "met"), ([0.4, 0.5, 0.6], "MISSED")])
def test_starts_are_judged_by_their_median(values: list[float], verdict: str) -> None:
    row = spread("start", values, MOST_START_S)
    assert (row["lowest"], row["highest"], row["verdict"]) == (min(values), max(values), verdict)


@pytest.mark.parametrize(
    ("package", "option"),
    [("sidecar/transport/http2", ["--transport", "http2"]), ("sidecar/lanes", ["--lane", "fast"])],
)
def test_another_checkout_is_started_with_its_own_options(tmp_path: Path, package: str, option: list[str]) -> None:
    (tmp_path / package).mkdir(parents=True)
    other = Checkout(tmp_path)
    assert other.root == tmp_path.resolve()
    for command in (other.sidecar(None), other.floor(7)):
        place = command.index(option[0])
        assert command[place : place + 2] == option


def test_a_directory_that_is_no_checkout_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no checkout"):
        Checkout(tmp_path)
