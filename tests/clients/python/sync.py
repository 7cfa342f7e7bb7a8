"""grpcio's synchronous client. See `tests/clients/programs.py`."""

import sys
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import grpc

from sidecar.wire import router_pb2 as pb
from sidecar.wire import router_pb2_grpc as rpc
from tests.clients.python import messages
from tests.clients.python.messages import CALLS, LONG_S, RECORD_S, SHORT_S, tell


def call(method: Any, request: Any, timeout: float = LONG_S) -> tuple[Any, Any]:
    """The reply, and what says how the call ended."""
    try:
        reply, ended = method.with_call(request, timeout=timeout)
    except grpc.RpcError as error:
        return None, error
    return reply, ended


def unary(stub: Any) -> None:
    """One Route."""
    reply, ended = call(stub.Route, messages.PLAIN)
    reply = reply or pb.RouteResponse()
    tell(status=ended.code().name, model=reply.model, decision_id=reply.decision_id)


def stream(stub: Any) -> None:
    """Five messages, each after the answer to the one before."""
    sequences: SimpleQueue[int] = SimpleQueue()

    def requests() -> Iterator[pb.RouteStreamRequest]:
        while sequence := sequences.get():
            yield messages.message(sequence)

    replies: list[pb.RouteStreamResponse] = []
    answers = stub.RouteStream(requests(), timeout=LONG_S)
    for sequence in range(1, 6):
        sequences.put(sequence)
        replies.append(next(answers))
    sequences.put(0)
    assert next(answers, None) is None
    messages.streamed(replies, answers.code())


def hangup(stub: Any) -> None:
    """A stream that is cancelled after its first answer."""
    sequences: SimpleQueue[int] = SimpleQueue()
    sequences.put(1)
    answers = stub.RouteStream((messages.message(sequence) for sequence in iter(sequences.get, 0)), timeout=LONG_S)
    first = next(answers)
    answers.cancel()
    sequences.put(0)
    tell(sequence=first.sequence, status=answers.code().name)
    unary(stub)


def deadline(stub: Any) -> None:
    """A call that has too little time, and one that has enough."""
    tell(status=call(stub.Route, messages.PLAIN, SHORT_S)[1].code().name)
    unary(stub)


def cancel(stub: Any) -> None:
    """Ten calls of which five are cancelled."""
    calls = [stub.Route.future(messages.PLAIN, timeout=LONG_S) for _ in range(CALLS)]
    sys.stdin.readline()
    for one in calls[::2]:
        one.cancel()
    for part in (calls[::2], calls[1::2]):
        tell(statuses=[one.code().name for one in part])


def large(stub: Any) -> None:
    """Megabytes up, megabytes down."""
    reply, ended = call(stub.Route, messages.LARGE)
    tell(status=ended.code().name, prompt_tokens=reply.prompt_tokens)
    batch, ended = call(stub.RouteBatch, messages.BATCH)
    tell(status=ended.code().name, results=len(batch.results), bytes=batch.ByteSize())


def error(stub: Any) -> None:
    """An error with words."""
    ended = call(stub.Route, messages.UNKNOWN_POLICY)[1]
    tell(status=ended.code().name, details=ended.details())


def refusal(stub: Any) -> None:
    """An error with trailers."""
    ended = call(stub.RouteBatch, messages.THREE)[1]
    tell(
        status=ended.code().name,
        details=ended.details(),
        pushback=dict(ended.trailing_metadata()).get("grpc-retry-pushback-ms"),
    )


def record(stub: Any) -> None:
    """Three calls in a row."""
    tell(statuses=[call(stub.Route, messages.PLAIN, RECORD_S)[1].code().name for _ in range(3)])


SCENARIOS: dict[str, Callable[[Any], None]] = {
    scenario.__name__: scenario for scenario in (unary, stream, hangup, deadline, cancel, large, error, refusal, record)
}


def main() -> None:
    """Plays the scenario that is asked for."""
    credentials = messages.credentials()
    address, options = sys.argv[2], messages.OPTIONS
    channel = (
        grpc.secure_channel(address, credentials, options) if credentials else grpc.insecure_channel(address, options)
    )
    with channel:
        SCENARIOS[sys.argv[1]](rpc.RouterServiceStub(channel))  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
