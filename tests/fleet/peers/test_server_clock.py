from hypothesis import given
from hypothesis import strategies as st

from sidecar.fleet.peers.server_clock import DRIFT, ServerClock

delays = st.floats(0.0, 0.3)


@given(st.floats(-1e9, 1e9), st.lists(st.tuples(delays, delays), min_size=1, max_size=20))
def test_it_is_never_further_off_than_half_of_the_quickest_answer_took(
    ahead: float, answers: list[tuple[float, float]]
) -> None:
    clock, now, quickest = ServerClock(), 1000.0, 1.0
    for there, back in answers:
        clock.read(now + there + ahead, now, now + there + back)
        quickest = min(quickest, there + back)
        now += 0.2 + there + back
        assert clock.known
        assert abs(clock.ahead_s - ahead) <= quickest / 2 + DRIFT * (now - 1000.0) + 1e-6


def test_a_clock_that_jumps_is_followed_at_once() -> None:
    clock = ServerClock()
    clock.read(5000.0, 1000.0, 1000.001)
    clock.read(9000.2, 1000.2, 1000.4)
    assert abs(clock.ahead_s - 8000.0) < 0.11


def test_a_clock_that_drifts_is_followed() -> None:
    clock = ServerClock()
    for step in range(2000):
        now = 1000.0 + 0.2 * step
        clock.read(5000.0 + now * (1.0 + DRIFT / 2), now, now + 0.002)
    assert abs(clock.ahead_s - 5000.0 - now * DRIFT / 2) < 0.005
