"""The calls of the fast lane, event by event: what a real connection cannot be made to do on demand."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from grpc._cython import cygrpc  # type: ignore[attr-defined]  # private, untyped

from sidecar.lanes.calls import StreamCall


class Started:
    """Stands for the loop and the call of one stream; keeps what was started."""

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


def stream_with_one_answer_on_its_way() -> tuple[Started, Any]:
    call = Started()
    take: Any = lambda raw, deliver, key, _caller: deliver(key, raw)  # noqa: E731 - typed as what it is
    stream: Any = StreamCall(call, None, take, math.inf)  # type: ignore[arg-type]
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
