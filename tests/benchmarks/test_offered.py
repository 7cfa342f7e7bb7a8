import heapq
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.client import OK, UNANSWERED, Reply
from benchmarks.long_loop import long_loop
from benchmarks.offered import closed_loop, open_loop
from benchmarks.samples import fell_behind


class World:
    """A clock and one server that does one call after the other; waiting moves the clock, nothing sleeps.

    Args:
        service: seconds of each call in turn.
        send_cost: seconds that the generator needs to send.
        deaf: keys that are never answered.
    """

    def __init__(self, service: Sequence[float], send_cost: float = 0.0, deaf: frozenset[int] = frozenset()) -> None:
        self.now = 0.0
        self.service = service
        self.send_cost = send_cost
        self.deaf = deaf
        self.idle_at = 0.0
        self.coming: list[tuple[float, int]] = []
        self.sent: list[tuple[int, bytes]] = []
        self.most_in_flight = 0
        self.answered = 0

    def clock(self) -> float:
        return self.now

    def send(self, payload: bytes, key: int) -> None:
        self.now += self.send_cost
        self.sent.append((key, payload))
        self.most_in_flight = max(self.most_in_flight, len(self.sent) - self.answered)
        if key in self.deaf:
            return
        self.idle_at = max(self.idle_at, self.now) + self.service[key % len(self.service)]
        heapq.heappush(self.coming, (self.idle_at, key))

    def wait(self, timeout_s: float) -> list[Reply]:
        until = self.now + max(0.0, timeout_s)
        first = self.coming[0][0] if self.coming else until
        self.now = max(self.now, min(until, first), self.now + 1e-7)
        replies = []
        while self.coming and self.coming[0][0] <= self.now:
            at, key = heapq.heappop(self.coming)
            replies.append(Reply(key, at, OK, b"%d" % key))
        self.answered += len(replies)
        return replies

    def close(self) -> None:
        pass


def test_calls_are_sent_when_due_though_none_was_answered() -> None:
    world = World([100.0])
    schedule = np.array([0.0, 0.1, 0.2, 0.9])
    run = open_loop(world, schedule, [b"a", b"b"], clock=world.clock, give_up_s=1.0)
    assert run.sent == pytest.approx(schedule, abs=1e-5)
    assert [payload for _, payload in world.sent] == [b"a", b"b", b"a", b"b"]


def test_a_stall_of_the_server_is_charged_to_every_call_that_was_due_in_it() -> None:
    service = [0.001] * 100
    service[10] = 1.0
    world = World(service)
    schedule = np.arange(0.0, 1.0, 0.01)
    run = open_loop(world, schedule, [b""], clock=world.clock)
    assert run.latency_s[9] == pytest.approx(0.001, abs=1e-4)
    # Call 10 is due at 0.1 and ends at 1.1; call 50 is due at 0.5 and must wait for it and for 39 others.
    assert run.latency_s[10] == pytest.approx(1.0, abs=1e-4)
    assert run.latency_s[50] == pytest.approx(1.1 + 40 * 0.001 - 0.5, abs=1e-4)
    assert run.lag_s.max() < 1e-3


def test_a_closed_loop_hides_the_same_stall() -> None:
    """Why the open loop exists: here one call of many sees it."""
    service = [0.001] * 1000
    service[10] = 1.0
    run = closed_loop(world := World(service), [b""], 1, 2.0, warm_up_s=0.0, clock=world.clock)
    assert (run.latency_s > 0.01).sum() == 1


@settings(max_examples=40)  # each run collects garbage first
@given(
    st.lists(st.floats(1e-4, 0.05), min_size=1, max_size=60),
    st.lists(st.floats(1e-4, 0.1), min_size=1, max_size=60),
)
def test_open_loop_latencies_are_those_of_a_queue(service: list[float], gaps: list[float]) -> None:
    schedule = np.cumsum(gaps)
    world = World(service)
    run = open_loop(world, schedule, [b""], clock=world.clock)
    idle, expected = 0.0, []
    for index, due in enumerate(schedule):
        idle = max(idle, due) + service[index % len(service)]
        expected.append(idle - due)
    assert run.latency_s == pytest.approx(expected, abs=1e-4)
    assert run.bodies == [b"%d" % key for key in range(len(schedule))]


def test_a_slow_generator_shows_as_lag_and_in_the_latency() -> None:
    world = World([1e-6], send_cost=0.02)
    schedule = np.arange(0.0, 2.0, 0.01)
    run = open_loop(world, schedule, [b""], clock=world.clock)
    assert run.lag_s[-1] == pytest.approx(199 * 0.01, rel=0.02)
    assert run.latency_s[-1] > run.lag_s[-1]
    assert "GENERATOR" in fell_behind(run)


def test_calls_without_answer_end_the_run_and_are_counted() -> None:
    world = World([0.001], deaf=frozenset({1}))
    run = open_loop(world, np.array([0.0, 0.1, 0.2]), [b""], clock=world.clock, give_up_s=3.0)
    assert run.status.tolist() == [OK, UNANSWERED, OK]
    assert run.latency_s[1] == pytest.approx(3.1, abs=1e-3)
    assert run.elapsed_s == pytest.approx(3.2, abs=1e-3)


def test_the_closed_loop_keeps_so_many_in_flight_and_no_more() -> None:
    world = World([0.01])
    run = closed_loop(world, [b"x"], 4, 1.0, warm_up_s=0.0, clock=world.clock)
    assert world.most_in_flight == 4
    # One server of 10 ms: a hundred calls in a second, each behind three others.
    assert run.good == pytest.approx(100, abs=2)
    assert np.median(run.latency_s) == pytest.approx(0.04, abs=1e-4)


def test_the_warm_up_is_not_counted() -> None:
    slow_start = [0.5] + [0.01] * 1000
    world = World(slow_start)
    run = closed_loop(world, [b"x"], 1, 1.0, warm_up_s=1.0, clock=world.clock)
    assert run.latency_s.max() == pytest.approx(0.01, abs=1e-4)
    assert run.elapsed_s == 1.0
    assert run.good == pytest.approx(100, abs=2)


def test_a_closed_loop_that_is_never_answered_says_so() -> None:
    world = World([0.01], deaf=frozenset({0, 1}))
    run = closed_loop(world, [b"x"], 2, 0.5, warm_up_s=0.0, clock=world.clock, give_up_s=2.0)
    assert run.good == 0
    assert run.errors() == {"UNANSWERED": 2}
    assert run.latency_s == pytest.approx([2.5, 2.5], abs=1e-3)


def test_a_call_that_waited_in_the_client_has_its_real_send_told() -> None:
    class Held(World):
        def wait(self, timeout_s: float) -> list[Reply]:
            return [reply._replace(sent=0.5) if reply.key == 1 else reply for reply in super().wait(timeout_s)]

    world = Held([0.6])
    run = open_loop(world, np.array([0.0, 0.1]), [b""], clock=world.clock)
    assert run.sent == pytest.approx([0.0, 0.1], abs=1e-5)
    assert run.written == pytest.approx([0.0, 0.5], abs=1e-5)
    assert run.latency_s == pytest.approx([0.6, 1.1], abs=1e-4)
    assert run.service_s == pytest.approx([0.6, 0.7], abs=1e-4)


def test_the_long_loop_keeps_calls_in_flight_until_it_is_told_to_stop_and_loses_none() -> None:
    world = World([0.01])
    found = long_loop(world, [b"x"], 4, lambda: world.now < 1.0, len, clock=world.clock)
    assert world.most_in_flight == 4
    assert len(found.status) == len(world.sent) == pytest.approx(108, abs=6)
    assert (found.status == OK).all()
    assert found.took_s[10:] == pytest.approx(0.04)
    assert found.mark.tolist() == [len(b"%d" % key) for key in range(len(world.sent))]


def test_calls_that_the_long_loop_never_hears_of_are_told_as_unanswered() -> None:
    world = World([0.01], deaf=frozenset({2}))
    found = long_loop(world, [b"x"], 4, lambda: world.now < 0.5, len, clock=world.clock, give_up_s=3.0)
    assert (found.status == UNANSWERED).sum() == 1
    assert found.took_s.max() >= 3.0
    assert found.mark[found.status == UNANSWERED].tolist() == [0]
