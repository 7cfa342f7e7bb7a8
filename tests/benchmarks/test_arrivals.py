from benchmarks.arrivals import HALF_OF_PEAK, arrival_verdicts
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


def test_a_percentile_of_too_few_calls_is_not_judged() -> None:
    half = arrived(f"{HALF_OF_PEAK}, Poisson 10/s", 10.0, 100.0) | {"total_p99_us": None}
    assert [row["verdict"] for row in arrival_verdicts([half]).rows] == ["met", "met", "-", "-"]
