"""The fast lane's loop, event by event: what a real connection cannot be made to do on demand."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from grpc._cython import cygrpc  # type: ignore[attr-defined]  # private, untyped

from sidecar.lanes.entrance import Entrance
from sidecar.lanes.fast import MOST_EVENTS, FastLane


class Waiting:
    """A batcher with one request that waits; says after how many events it was flushed."""

    full = False

    def __init__(self) -> None:
        self.events = 0
        self.flushed_after: list[int] = []

    def __len__(self) -> int:
        return 0 if self.flushed_after else 1

    @property
    def ready(self) -> bool:
        return len(self) > 0


class BusyQueue:
    """A completion queue that never falls silent until it is shut down."""

    def __init__(self, batcher: Waiting) -> None:
        self._batcher = batcher
        self._closed = False

    def poll(self, _deadline: float | None = None) -> Any:
        if self._closed:
            return SimpleNamespace(completion_type=cygrpc.CompletionType.queue_shutdown)
        self._batcher.events += 1
        return SimpleNamespace(completion_type=cygrpc.CompletionType.operation_complete, tag=lambda _event: None)

    def shutdown(self) -> None:
        self._closed = True


def test_a_request_is_answered_after_a_bounded_number_of_events_though_the_queue_is_never_silent() -> None:
    batcher = Waiting()
    services: Any = SimpleNamespace(
        unary={},
        streams={},
        cold={},
        watches={},
        batcher=batcher,
        busy_s=0.0,
        flush=lambda: batcher.flushed_after.append(batcher.events),
    )
    lane = FastLane(services, Entrance())
    lane._queue = BusyQueue(batcher)
    lane._due = 3 * MOST_EVENTS
    lane._serve()
    assert batcher.flushed_after[0] == MOST_EVENTS


class Time:
    """Calls that come to a lane which is busy, or was idle just now."""

    def __init__(self, monkeypatch: Any) -> None:
        self.unread = 0
        services: Any = SimpleNamespace(
            unary={}, streams={}, cold={}, watches={}, batcher=Waiting(), busy_s=0.0, unread=self.count
        )
        self.lane = FastLane(services, Entrance())
        self.accept: list[Callable[[Any], None]] = []
        self.taken: list[float] = []
        core = SimpleNamespace(request_registered_call=lambda *arguments: self.accept.append(arguments[-1]))
        monkeypatch.setattr(self.lane, "_core", core)
        kind: Any = lambda _lane, _call, _take, expires: self.taken.append(expires)  # noqa: E731 - typed as what it is
        self.lane._ask_for("/router.v1.RouterService/Route", kind, None)  # type: ignore[arg-type]

    def count(self) -> None:
        self.unread += 1

    def call(self, seconds: float, *, idle: bool = False) -> None:
        self.lane._silent = time.perf_counter() - (0.0 if idle else 1.0)
        details = SimpleNamespace(deadline=time.time() + seconds)
        self.accept[-1](SimpleNamespace(success=True, call=object(), call_details=details))


def test_under_load_a_call_that_has_less_time_than_calls_need_is_left_to_expire(monkeypatch: Any) -> None:
    calls = Time(monkeypatch)
    for _ in range(200):
        calls.lane.served(0.02)
    calls.call(0.01)
    assert (len(calls.taken), calls.unread, len(calls.lane._left)) == (0, 1, 1)
    calls.call(5.0)
    assert (len(calls.taken), calls.unread) == (1, 1)


def test_a_lane_that_was_idle_just_now_tries_what_it_learned_under_load_to_be_too_late(monkeypatch: Any) -> None:
    calls = Time(monkeypatch)
    for _ in range(200):
        calls.lane.served(0.02)
    calls.call(0.01, idle=True)
    assert (len(calls.taken), calls.unread) == (1, 0)


def test_a_call_without_a_deadline_is_never_left(monkeypatch: Any) -> None:
    calls = Time(monkeypatch)
    for _ in range(200):
        calls.lane.served(100.0)
    calls.call(9e18)
    assert len(calls.taken) == 1


def test_if_all_calls_are_left_the_lane_soon_tries_again(monkeypatch: Any) -> None:
    calls = Time(monkeypatch)
    for _ in range(200):
        calls.lane.served(0.02)
    for _ in range(1000):
        calls.call(0.01)
    assert calls.taken


def test_calls_that_were_left_are_let_go_once_they_have_expired(monkeypatch: Any) -> None:
    calls = Time(monkeypatch)
    calls.lane._services.flush = lambda: None  # type: ignore[method-assign]
    calls.lane._leave(object(), time.time() - 1.0)
    calls.lane._leave(object(), time.time() + 100.0)
    calls.lane._flush()
    assert len(calls.lane._left) == 1
