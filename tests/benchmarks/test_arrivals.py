from benchmarks.arrivals import _verdicts


def row(rate: float | None, queue: float | None, outside: float, subject: str = "") -> dict[str, object]:
    return {
        "subject": subject,
        "rate": rate,
        "queue_p99_us": queue,
        "queueing_p99_us": outside,
        "total_p50_us": 140.0,
        "total_p99_us": 900.0,
    }


def test_queueing_is_judged_by_the_worst_of_the_asked_rates() -> None:
    (told,) = _verdicts([row(12.0, 100.0, 400.0), row(3000.0, 900.0, 1200.0), row(50.0, 9e9, 9e9)])
    assert "over 12, 3000 req/s" in told
    assert "900 us by the server's own count, met" in told
    assert "1200 us seen from outside, MISSED" in told


def test_the_scoring_path_is_judged_at_half_of_peak_load() -> None:
    half = row(4000.0, 1.0, 1.0, "half of peak, Poisson 4000/s")
    assert _verdicts([half])[0].endswith("p99 900 us (target < 1000): met")
    assert _verdicts([{**half, "total_p50_us": 151.0}])[0].endswith("MISSED")
    assert _verdicts([{**half, "total_p99_us": 1000.0}])[0].endswith("MISSED")
    assert _verdicts([{**half, "total_p99_us": None}]) == []
