"""Calls through grpcio's public client, to check the frames client against what callers really use.

It is grpc.aio, which costs a fifth of the synchronous client's futures.
"""

import asyncio
import time
from typing import Any

import grpc

from benchmarks.client import OK, Reply

try:
    from uvloop import new_event_loop
except ImportError:  # no uvloop on this system
    from asyncio import new_event_loop  # type: ignore[assignment]  # uvloop's loop is narrower

OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # else all channels share one connection
)
READY_S = 5.0


class GrpcClient:
    """Makes calls as tasks of an event loop that runs while `wait` waits, over several channels in turn.

    Args:
        address: HOST:PORT.
        method: `/package.Service/Method`.
        connections: how many.
    """

    def __init__(self, address: str, method: str, connections: int = 1) -> None:
        self._loop = new_event_loop()
        self._turn = 0
        self._done: list[Reply] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._awake = asyncio.Event()
        self._loop.run_until_complete(self._connect(address, method, connections))

    def send(self, payload: bytes, key: int) -> None:
        """Begins a call on the next channel; it goes out as soon as `wait` runs the loop."""
        self._turn = (self._turn + 1) % len(self._calls)
        task = self._loop.create_task(self._call(self._calls[self._turn], payload, key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def wait(self, timeout_s: float) -> list[Reply]:
        """Waits at most timeout_s for a reply; returns all that have come."""
        self._loop.run_until_complete(self._rest(timeout_s))
        done, self._done = self._done, []
        return done

    def close(self) -> None:
        """Ends all channels."""
        self._loop.run_until_complete(self._close())
        self._loop.close()

    async def _connect(self, address: str, method: str, connections: int) -> None:
        self._channels = [grpc.aio.insecure_channel(address, options=OPTIONS) for _ in range(connections)]
        self._calls: list[Any] = [channel.unary_unary(method) for channel in self._channels]
        for channel in self._channels:
            await asyncio.wait_for(channel.channel_ready(), READY_S)

    async def _call(self, call: Any, payload: bytes, key: int) -> None:
        try:
            body, status = await call(payload), OK
        except grpc.aio.AioRpcError as error:
            body, status = b"", error.code().value[0]
        self._done.append(Reply(key, time.perf_counter(), status, body))
        self._awake.set()

    async def _rest(self, timeout_s: float) -> None:
        self._awake.clear()
        if self._done:
            return
        if timeout_s <= 0:
            await asyncio.sleep(0)
            return
        timer = self._loop.call_later(timeout_s, self._awake.set)
        await self._awake.wait()
        timer.cancel()

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for channel in self._channels:
            await channel.close()
