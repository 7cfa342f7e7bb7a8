"""A gRPC client that writes HTTP/2 frames itself, for load only.

A client made of grpcio costs as much of a core as the server it measures. A unary call is one HEADERS and one DATA
frame, and its reply three frames; writing and reading just these costs a third of grpc.aio and a tenth of the
synchronous client's futures (measured: 22, 60 and 300 us per call; `latency.py --only clients` repeats the first two).
Under overload and when servers die it does as they do: see Connection, and `reconnect` below. Retries are in
benchmarks.retry.
"""

import math
import select
import time
from collections.abc import Callable

from benchmarks.client import UNAVAILABLE, Reply
from benchmarks.connection import NEVER, Connection
from benchmarks.hpack import timeout_field

# After a connection could not be had, calls are UNAVAILABLE for so long before it is tried again. One that was lost is
# tried again at once. (grpc's own clients begin with a second; here workers of one machine come back sooner.)
BACKOFF_S = 0.1


class FramesClient:
    """Makes calls over several connections in turn.

    Args:
        address: HOST:PORT.
        method: `/package.Service/Method`.
        connections: how many.
        deadline_s: of every call that is sent without a timeout of its own; none if left out.
        reconnect: a lost connection is made anew for later calls; else they go to the ones that are left.
        connect: makes a connection.

    Raises:
        OSError: the first connections cannot be had.
    """

    def __init__(
        self,
        address: str,
        method: str,
        connections: int = 1,
        *,
        deadline_s: float | None = None,
        reconnect: bool = False,
        connect: Callable[..., Connection] = Connection,
    ) -> None:
        host, _, port = address.rpartition(":")
        self._where = host, int(port), method
        self._connect = connect
        self._connections = [connect(*self._where) for _ in range(connections)]
        self._sockets = {connection.socket: connection for connection in self._connections}
        self._again = [0.0] * connections  # when each may be tried again
        self._deadline_s = deadline_s
        self._timeout = timeout_field(deadline_s) if deadline_s else b""
        self._timed = bool(deadline_s)
        self._reconnect = reconnect
        self._turn = 0
        self._lost: list[Reply] = []

    def send(self, payload: bytes, key: int, timeout_s: float | None = None, over: int | None = None) -> None:
        """Begins a call; it is UNAVAILABLE if no connection is open.

        Args:
            payload: the serialised request.
            key: no other call that is under way has it.
            timeout_s: until it ends as DEADLINE_EXCEEDED; the client's own deadline if left out.
            over: the number of the connection to try first; the next in turn if left out.
        """
        if over is not None:
            self._turn = over - 1
        expires, timeout = NEVER, b""
        if timeout_s is not None:
            self._timed = True
            expires, timeout = time.perf_counter() + timeout_s, timeout_field(timeout_s)
        elif self._deadline_s:
            expires, timeout = time.perf_counter() + self._deadline_s, self._timeout
        self._assign(payload, key, expires, timeout)

    def wait(self, timeout_s: float) -> list[Reply]:
        """Waits at most timeout_s for replies; returns those that have come."""
        replies, self._lost = self._lost, []
        for connection in self._sockets.values():
            connection.flush()
        patience = 0.0 if replies else max(0.0, timeout_s)
        if self._timed:
            due = min(connection.next_deadline() for connection in self._sockets.values()) if self._sockets else NEVER
            patience = min(patience, max(0.0, due - time.perf_counter()))
        writing = [connection.socket for connection in self._sockets.values() if connection.wants_to_write]
        # select, not epoll: its timeout is in microseconds, epoll's in milliseconds.
        readable, writable, _ = select.select(list(self._sockets), writing, [], patience)
        for ready in writable:
            self._sockets[ready].flush()
        for ready in readable:
            connection = self._sockets[ready]
            replies += connection.read()
            if not connection.open:
                self._part_from(connection)
        if self._timed:
            now = time.perf_counter()
            for connection in self._sockets.values():
                replies += connection.expire(now)
        return replies

    def close(self) -> None:
        """Ends all connections."""
        for connection in self._sockets.values():
            connection.socket.close()

    def _assign(self, payload: bytes, key: int, expires: float, timeout: bytes) -> None:
        connections = self._connections
        for _ in connections:
            self._turn = turn = (self._turn + 1) % len(connections)
            if connections[turn].open or self._revived(turn):
                connections[turn].send(payload, key, expires, timeout)
                return
        self._lost.append(Reply(key, time.perf_counter(), UNAVAILABLE, b"", math.nan))

    def _revived(self, turn: int) -> bool:
        now = time.perf_counter()
        if not self._reconnect or now < self._again[turn]:
            return False
        connection = self._connections[turn] = self._connect(*self._where, wait=False)
        self._sockets[connection.socket] = connection
        self._again[turn] = now + BACKOFF_S
        return True

    def _part_from(self, connection: Connection) -> None:
        """Forgets a connection when its last call has ended; calls still in line go elsewhere."""
        if connection.ready and connection in self._connections:
            self._again[self._connections.index(connection)] = 0.0
        if connection.closed or not len(connection):
            del self._sockets[connection.socket]
            connection.socket.close()
        now = time.perf_counter()
        for payload, key, expires in connection.stranded():
            self._assign(payload, key, expires, b"" if expires == NEVER else timeout_field(expires - now))
