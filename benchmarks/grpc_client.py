"""Calls through grpcio's public client, to check the frames client against what callers really use."""

import time
from queue import Empty, SimpleQueue
from typing import Any

import grpc

from benchmarks.client import Reply

OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # else all channels share one connection
)


class GrpcClient:
    """Makes calls as futures over several channels in turn; their callbacks fill a queue.

    Args:
        address: HOST:PORT.
        method: `/package.Service/Method`.
        connections: how many.
    """

    def __init__(self, address: str, method: str, connections: int = 1) -> None:
        self._channels = [grpc.insecure_channel(address, options=OPTIONS) for _ in range(connections)]
        self._calls: list[Any] = [channel.unary_unary(method) for channel in self._channels]
        self._turn = 0
        self._done: SimpleQueue[tuple[int, float, Any]] = SimpleQueue()
        for channel in self._channels:
            grpc.channel_ready_future(channel).result(timeout=5.0)

    def send(self, payload: bytes, key: int) -> None:
        """Begins a call on the next channel."""
        self._turn = (self._turn + 1) % len(self._calls)
        future = self._calls[self._turn].future(payload)
        future.add_done_callback(lambda call: self._done.put((key, time.perf_counter(), call)))

    def wait(self, timeout_s: float) -> list[Reply]:
        """Waits at most timeout_s for a reply; returns all that have come."""
        replies: list[Reply] = []
        try:
            while True:
                key, at, call = self._done.get(timeout=timeout_s) if timeout_s > 0 else self._done.get_nowait()
                timeout_s = 0.0
                status = call.code().value[0]
                replies.append(Reply(key, at, status, call.result() if status == 0 else b""))
        except Empty:
            return replies

    def close(self) -> None:
        """Ends all channels."""
        for channel in self._channels:
            channel.close()
