import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.fleet.calendar import Calendar
from benchmarks.fleet.candidates import FLEET, Candidate, enlarged
from benchmarks.fleet.servers import BURST_S, REFUSAL_S, Call, End, Fault, Server

from .conftest import Make


def play(candidate: Candidate, arrivals: Sequence[float], tokens: Sequence[float]) -> tuple[Server, list[Call]]:
    """Calls come at these times and run to their ends."""
    calendar = Calendar()
    server = Server(candidate, calendar)
    calls = [Call(0.0, length, lambda _call: None) for length in tokens]
    for time, call in zip(arrivals, calls, strict=True):
        calendar.at(time, lambda call=call: server.submit(call))  # type: ignore[misc]
    calendar.run()
    return server, calls


def waits(calls: Sequence[Call], tokens: Sequence[float]) -> np.ndarray:
    return np.array([call.done - call.sent - length for call, length in zip(calls, tokens, strict=True)])


def test_calls_at_an_even_pace_below_capacity_never_wait(make: Make) -> None:
    arrivals, tokens = [0.5 * number for number in range(50)], [1.0] * 50
    server, calls = play(make(slots=2), arrivals, tokens)
    assert waits(calls, tokens) == pytest.approx(0.0, abs=1e-9)
    assert server.queued(0) == []


def test_calls_at_an_even_pace_beyond_capacity_wait_longer_and_longer(make: Make) -> None:
    # D/D/1 at load 2: the n-th waits n half-services.
    arrivals, tokens = [0.5 * number for number in range(20)], [1.0] * 20
    server, calls = play(make(slots=1), arrivals, tokens)
    assert waits(calls, tokens) == pytest.approx(np.arange(20) * 0.5)
    assert server.queued(0) == [(0.5, 19.0)]


@pytest.mark.parametrize(("slots", "load"), [(1, 0.7), (4, 0.8)])
def test_random_calls_wait_as_long_as_erlang_says(make: Make, slots: int, load: float) -> None:
    # M/M/c: mean wait = C(c, a) / (c - a), in units of the mean service.
    rng = np.random.default_rng(5)
    count, offered = 60_000, load * slots
    arrivals = np.cumsum(rng.exponential(1 / offered, count))
    tokens = rng.exponential(1.0, count).tolist()
    _, calls = play(make(slots=slots), arrivals.tolist(), tokens)
    terms = [offered**k / math.factorial(k) for k in range(slots)]
    last = offered**slots / math.factorial(slots) / (1 - load)
    erlang_c = last / (sum(terms) + last)
    assert waits(calls, tokens).mean() == pytest.approx(erlang_c / (slots - offered), rel=0.08)


def test_the_queue_is_first_in_first_out(make: Make) -> None:
    _, calls = play(make(slots=1), [0.0, 0.1, 0.2, 0.3], [1.0, 5.0, 0.1, 0.1])
    assert [call.done for call in calls] == pytest.approx([1.0, 6.0, 6.1, 6.2])


def test_streams_slow_each_other_down(make: Make) -> None:
    # Alone a token takes a second, with both slots busy two: 1 token alone, then both advance at half speed.
    _, calls = play(make(slots=2, slowdown=1.0), [0.0, 1.0], [2.0, 2.0])
    assert [call.done for call in calls] == pytest.approx([3.0, 4.0])


def test_the_first_token_comes_after_the_prompt_was_read(make: Make) -> None:
    calendar = Calendar()
    server = Server(make(first_token_s=0.5, prompt_tokens_per_s=100.0), calendar)
    call = Call(50.0, 2.0, lambda _call: None)
    server.submit(call)
    calendar.run()
    assert (call.first_token, call.done) == pytest.approx((1.0, 3.0))
    assert server.counted.first_token_s == pytest.approx(1.0)
    assert server.counted.token_s == pytest.approx(2.0)


@given(
    st.lists(st.tuples(st.floats(0, 50), st.floats(0.01, 10)), min_size=1, max_size=40),
    st.integers(1, 4),
    st.floats(0, 2),
    st.lists(
        st.tuples(st.floats(0, 60), st.sampled_from([Fault.ERRORS, Fault.HANG, Fault.RATE_LIMIT, Fault.NONE])),
        max_size=4,
    ),
    st.floats(0.1, 20),
)
def test_every_call_ends_once_and_no_work_is_done_for_nothing(
    asked: list[tuple[float, float]],
    slots: int,
    slowdown: float,
    faults: list[tuple[float, Fault]],
    patience: float,
) -> None:
    candidate = Candidate(
        name="any", label="any", hosted=False, slots=slots, first_token_s=0.1, prompt_tokens_per_s=1e3,
        token_s=0.5, slowdown=slowdown,
    )  # fmt: skip
    calendar = Calendar()
    server = Server(candidate, calendar)
    ends: dict[int, End | None] = {}

    def ended(number: int, call: Call) -> None:
        assert number not in ends
        ends[number] = call.end

    for number, (time, tokens) in enumerate(asked):
        call = Call(10.0, tokens, lambda call, number=number: ended(number, call))  # type: ignore[misc]

        def begin(call: Call = call) -> None:
            server.submit(call)
            calendar.after(patience, lambda: server.give_up(call))
            assert 0 <= server.running <= slots

        calendar.at(time, begin)
    for time, fault in faults:
        calendar.at(time, lambda fault=fault: server.break_down(fault))  # type: ignore[misc]
    calendar.at(100.0, lambda: server.break_down(Fault.NONE))
    calendar.run()
    assert len(ends) == len(asked)
    answered = [tokens for number, (_, tokens) in enumerate(asked) if ends[number] is End.ANSWERED]
    assert server.counted.answered == len(answered)
    assert server.counted.tokens == pytest.approx(sum(answered))
    assert (server.running, server.waiting) == (0, 0)
    # A token never takes less than alone.
    assert server.counted.token_s >= 0.5 * sum(answered) - 1e-6


def test_a_server_that_fails_breaks_off_what_it_does_and_refuses_what_comes(make: Make) -> None:
    calendar, seen = Calendar(), list[tuple[End | None, float]]()
    server = Server(make(slots=1), calendar)
    for _ in range(2):
        server.submit(Call(0.0, 10.0, lambda call: seen.append((call.end, call.done))))
    calendar.at(3.0, lambda: server.break_down(Fault.ERRORS))
    calendar.at(4.0, lambda: server.submit(Call(0.0, 1.0, lambda call: seen.append((call.end, call.done)))))
    calendar.at(5.0, lambda: server.break_down(Fault.NONE))
    calendar.at(6.0, lambda: server.submit(Call(0.0, 1.0, lambda call: seen.append((call.end, call.done)))))
    calendar.run()
    assert seen == [(End.SERVER, 3.0), (End.SERVER, 3.0), (End.SERVER, 4.0 + REFUSAL_S), (End.ANSWERED, 7.0)]


def test_slots_are_free_until_the_last_is_taken_and_again_when_the_server_fails(make: Make) -> None:
    calendar = Calendar()
    server = Server(make(slots=2), calendar)
    for time, tokens in ((1.0, 9.0), (2.0, 2.0), (3.0, 1.0), (8.0, 9.0)):
        calendar.at(time, lambda tokens=tokens: server.submit(Call(0.0, tokens, lambda _call: None)))  # type: ignore[misc]
    calendar.at(9.0, lambda: server.break_down(Fault.ERRORS))
    calendar.run(20.0)
    # The third waits from 3 on and takes the slot at 4; at 8 the first still runs.
    assert server.free() == [(0.0, 2.0), (5.0, 8.0), (9.0, 20.0)]
    assert server.queued(0) == [(3.0, 4.0)]


def test_a_server_that_hangs_goes_on_where_it_stood(make: Make) -> None:
    calendar, seen = Calendar(), list[float]()
    server = Server(make(slots=1), calendar)
    for _ in range(2):
        server.submit(Call(0.0, 2.0, lambda call: seen.append(call.done)))
    calendar.at(1.0, lambda: server.break_down(Fault.HANG))
    calendar.at(11.0, lambda: server.break_down(Fault.NONE))
    calendar.run()
    assert seen == pytest.approx([12.0, 14.0])


def test_a_caller_gives_up_only_before_the_first_token(make: Make) -> None:
    calendar, seen = Calendar(), list[tuple[End | None, float]]()
    server = Server(make(slots=1), calendar)
    for _ in range(2):
        call = Call(0.0, 3.0, lambda call: seen.append((call.end, call.done)))
        server.submit(call)
        calendar.at(1.0, lambda call=call: server.give_up(call))  # type: ignore[misc]
    calendar.run()
    assert seen == [(End.TIMEOUT, 1.0), (End.ANSWERED, 3.0)]
    assert server.waiting == 0


def test_a_providers_limit_turns_away_what_exceeds_it_and_tells_what_is_left(make: Make) -> None:
    calendar, seen = Calendar(), list[Call]()
    server = Server(make(slots=100, hosted=True, limit_per_s=1.0), calendar)
    for _ in range(int(BURST_S) + 2):
        server.submit(Call(0.0, 0.01, seen.append))
    assert server.limits()["x-ratelimit-remaining-requests"] == "0"
    calendar.run()
    turned_away = [call for call in seen if call.end is End.RATE_LIMITED]
    assert len(turned_away) == 2
    assert all(call.retry_after_s > 0 for call in turned_away)
    calendar.run(3.5)
    assert server.limits() == {
        "x-ratelimit-limit-requests": "10",
        "x-ratelimit-remaining-requests": "3",
        "x-ratelimit-reset-requests": "6.500s",
    }


def test_a_server_of_ones_own_tells_no_limits(make: Make) -> None:
    assert Server(make(), Calendar()).limits() == {}


def test_a_stretch_of_queueing_lasts_until_so_few_wait(make: Make) -> None:
    server, _ = play(make(slots=1), [0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0])
    assert server.queued(0) == [(0.0, 3.0)]
    assert server.queued(1) == [(0.0, 2.0)]
    assert server.queued(3) == []


def test_a_stretch_that_lasts_still_is_counted_until_now(make: Make) -> None:
    calendar = Calendar()
    server = Server(make(slots=1), calendar)
    for _ in range(2):
        server.submit(Call(0.0, 100.0, lambda _call: None))
    calendar.run(7.0)
    assert server.queued(0) == [(0.0, 7.0)]


def test_capacity_is_what_a_server_completes_per_second_when_it_has_enough_to_do() -> None:
    candidate = replace(FLEET[1], limit_per_s=math.inf)
    calendar = Calendar()
    server = Server(candidate, calendar)
    for _ in range(4000):
        server.submit(Call(160.0, 120.0, lambda _call: None))
    calendar.run()
    assert 4000 / calendar.now == pytest.approx(candidate.capacity_per_s(160.0, 120.0), rel=0.02)


def test_an_enlarged_fleet_carries_so_many_times_as_much() -> None:
    for one, large in zip(FLEET, enlarged(FLEET, 10.0), strict=True):
        assert large.capacity_per_s(100.0, 100.0) == pytest.approx(10 * one.capacity_per_s(100.0, 100.0))
        assert large.limit_per_s == 10 * one.limit_per_s
