"""grpcio's asynchronous client. See `tests/clients/programs.py`."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc import aio

from sidecar.wire import router_pb2 as pb
from sidecar.wire import router_pb2_grpc as rpc
from tests.clients.python import messages
from tests.clients.python.messages import CALLS, LONG_S, RECORD_S, SHORT_S, tell


async def reply_of(call: Any) -> Any:
    """The reply; None if the call failed."""
    try:
        return await call
    except grpc.RpcError:
        return None


async def unary(stub: Any) -> None:
    """One Route."""
    call = stub.Route(messages.PLAIN, timeout=LONG_S)
    reply = await reply_of(call) or pb.RouteResponse()
    tell(status=(await call.code()).name, model=reply.model, decision_id=reply.decision_id)


async def stream(stub: Any) -> None:
    """Five messages, each after the answer to the one before."""
    call, replies = stub.RouteStream(timeout=LONG_S), []
    for sequence in range(1, 6):
        await call.write(messages.message(sequence))
        replies.append(await call.read())
    await call.done_writing()
    assert await call.read() is aio.EOF
    messages.streamed(replies, await call.code())


async def hangup(stub: Any) -> None:
    """A stream that is cancelled after its first answer."""
    call = stub.RouteStream(timeout=LONG_S)
    await call.write(messages.message(1))
    first = await call.read()
    call.cancel()
    tell(sequence=first.sequence, status=(await call.code()).name)
    await unary(stub)


async def deadline(stub: Any) -> None:
    """A call that has too little time, and one that has enough."""
    call = stub.Route(messages.PLAIN, timeout=SHORT_S)
    tell(status=(await call.code()).name)
    await unary(stub)


async def cancel(stub: Any) -> None:
    """Ten calls of which five are cancelled."""
    calls = [stub.Route(messages.PLAIN, timeout=LONG_S) for _ in range(CALLS)]
    await asyncio.to_thread(sys.stdin.readline)
    for one in calls[::2]:
        one.cancel()
    for part in (calls[::2], calls[1::2]):
        tell(statuses=[(await one.code()).name for one in part])


async def large(stub: Any) -> None:
    """Megabytes up, megabytes down."""
    call = stub.Route(messages.LARGE, timeout=LONG_S)
    reply = await reply_of(call)
    tell(status=(await call.code()).name, prompt_tokens=reply.prompt_tokens)
    call = stub.RouteBatch(messages.BATCH, timeout=LONG_S)
    batch = await reply_of(call)
    tell(status=(await call.code()).name, results=len(batch.results), bytes=batch.ByteSize())


async def error(stub: Any) -> None:
    """An error with words."""
    call = stub.Route(messages.UNKNOWN_POLICY, timeout=LONG_S)
    tell(status=(await call.code()).name, details=await call.details())


async def refusal(stub: Any) -> None:
    """An error with trailers."""
    call = stub.RouteBatch(messages.THREE, timeout=LONG_S)
    code, details = await call.code(), await call.details()
    pushback = (await call.trailing_metadata()).get("grpc-retry-pushback-ms", "")
    tell(status=code.name, details=details, pushback=pushback)


async def record(stub: Any) -> None:
    """Three calls in a row."""
    tell(statuses=[(await stub.Route(messages.PLAIN, timeout=RECORD_S).code()).name for _ in range(3)])


SCENARIOS: dict[str, Callable[[Any], Awaitable[None]]] = {
    scenario.__name__: scenario for scenario in (unary, stream, hangup, deadline, cancel, large, error, refusal, record)
}


async def main() -> None:
    """Plays the scenario that is asked for."""
    credentials = messages.credentials()
    address, options = sys.argv[2], messages.OPTIONS
    channel = (
        aio.secure_channel(address, credentials, options) if credentials else aio.insecure_channel(address, options)
    )
    async with channel:
        await SCENARIOS[sys.argv[1]](rpc.RouterServiceStub(channel))  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    asyncio.run(main())
