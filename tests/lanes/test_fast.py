"""The fast lane's loop and streams, event by event: what a real connection cannot be made to do on demand."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from grpc._cython import cygrpc  # type: ignore[attr-defined]  # private, untyped

from sidecar.lanes.entrance import Entrance
from sidecar.lanes.fast import MOST_EVENTS, FastLane, _Stream


class Waiting:
    """A batcher with one request that waits; says after how many events it was flushed."""

    full = False

    def __init__(self) -> None:
        self.events = 0
        self.flushed_after: list[int] = []

    def __len__(self) -> int:
        return 0 if self.flushed_after else 1


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


class Call:
    """Stands for the lane and the call of one stream; keeps what was started."""

    def __init__(self) -> None:
        self.started: list[tuple[Any, Callable[[Any], None]]] = []

    def start_batch(self, _call: Any, operations: tuple[Any, ...], tag: Callable[[Any], None]) -> None:
        self.started.extend((operation, tag) for operation in operations)

    def statuses(self) -> int:
        return sum(isinstance(operation, cygrpc.SendStatusFromServerOperation) for operation, _ in self.started)


def received(raw: bytes | None) -> Any:
    return SimpleNamespace(success=True, batch_operations=[SimpleNamespace(message=lambda: raw)])


def closed(*, cancelled: bool) -> Any:
    return SimpleNamespace(batch_operations=[SimpleNamespace(cancelled=lambda: cancelled)])


def stream_with_one_answer_on_its_way() -> tuple[Call, Any]:
    call = Call()
    take: Any = lambda raw, deliver, key, _caller: deliver(key, raw)  # noqa: E731 - typed as what it is
    stream: Any = _Stream(call, None, take, math.inf)  # type: ignore[arg-type]
    stream._received(received(b"question"))
    return call, stream


def test_a_stream_ends_once_its_last_answer_is_sent() -> None:
    call, stream = stream_with_one_answer_on_its_way()
    stream._received(received(None))
    assert call.statuses() == 0
    stream._sent(SimpleNamespace(success=True))
    assert call.statuses() == 1


def test_a_stream_that_is_cancelled_while_it_sends_ends_once() -> None:
    call, stream = stream_with_one_answer_on_its_way()
    stream._ended(closed(cancelled=True))
    stream._sent(SimpleNamespace(success=True))
    stream._received(received(None))
    assert call.statuses() == 1


def test_a_stream_whose_caller_is_gone_is_read_no_further() -> None:
    call, stream = stream_with_one_answer_on_its_way()
    before = len(call.started)
    stream._sent(SimpleNamespace(success=False))
    assert len(call.started) == before
