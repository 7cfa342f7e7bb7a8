from sidecar.scoring.pace import Limits, Pace


def test_until_something_is_known_the_limit_of_rows_counts() -> None:
    pace = Pace(Limits(32, 0.025))
    assert pace.rows == 32
    assert pace.fits(32, 10_000)
    assert not pace.fits(33, 33)


def test_what_a_run_may_hold_follows_from_what_runs_took() -> None:
    pace = Pace(Limits(32, 0.025))
    pace.learn(4, 400, 0.020)
    assert pace.rows == 5
    assert pace.fits(5, 500)
    assert not pace.fits(5, 501)


def test_one_row_may_always_run() -> None:
    pace = Pace(Limits(32, 0.025))
    pace.learn(1, 512, 3.0)
    assert pace.rows == 1


def test_a_fast_device_is_bounded_by_rows() -> None:
    pace = Pace(Limits(32, 0.025))
    pace.learn(32, 4096, 0.0005)
    assert pace.rows == 32


def test_later_runs_outweigh_earlier_ones() -> None:
    pace = Pace(Limits(32, 0.025))
    pace.learn(1, 100, 1.0)
    for _ in range(100):
        pace.learn(1, 100, 0.005)
    assert pace.rows in (4, 5)


def test_what_was_learned_of_another_device_is_forgotten() -> None:
    pace = Pace(Limits(32, 0.025))
    pace.learn(1, 100, 1.0)
    pace.forget()
    assert pace.rows == 32
