"""Stands in for workers that are down: connections that wait for one of them go to the others."""

import asyncio
import socket
from contextlib import suppress

from sidecar.processes.connection_table import SUPERVISOR, ConnectionTable
from sidecar.processes.placer import Placer, take

# Between two looks at the sockets of a worker that is down, and only then.
PERIOD_S = 0.01
# Between two turns of the supervisor's loop.
MOST_AT_ONCE = 256


class Relay:
    """Empties one worker's inbox and the queue of its listening socket while that worker is down.

    What no other worker takes waits in the kernel for the worker's successor; at most one connection is held here.

    Args:
        number: of the worker.
        listener: the worker's, listening or not, not blocking.
        inbox: the worker's.
        table: the connections of all workers.
        placer: sends connections to workers.

    Attributes:
        down: whether no process of this number serves.
    """

    def __init__(
        self, number: int, listener: socket.socket, inbox: socket.socket, table: ConnectionTable, placer: Placer
    ) -> None:
        self._number = number
        self._listener = listener
        self._inbox = inbox
        self._table = table
        self._placer = placer
        self._held: socket.socket | None = None
        self.down = asyncio.Event()

    async def run(self) -> None:
        """Serves the queues whenever `down` is set, until it is cancelled."""
        while True:
            await self.down.wait()
            while self.down.is_set():
                self.pass_on()
                await asyncio.sleep(PERIOD_S)
            while self._held is not None:  # its successor takes it, if nobody else does
                self._place_held()
                await asyncio.sleep(PERIOD_S)

    def pass_on(self) -> None:
        """Sends what waits now to the other workers, as far as they take it."""
        for _ in range(MOST_AT_ONCE):
            if self._held is None and self._table.serving():
                self._held = self._next()
            if not self._place_held():
                return

    def _next(self) -> socket.socket | None:
        for connection in take(self._inbox, self._table, self._number, SUPERVISOR):
            return connection
        with suppress(OSError):  # nothing waits, it never listened, or there are no descriptors left
            return self._listener.accept()[0]
        return None

    def _place_held(self) -> bool:
        if self._held is None or not self._placer.place(self._held, self._table.serving()):
            return False
        self._held = None
        return True

    def close(self) -> None:
        """Drops the connection that is held, if there is one."""
        if self._held is not None:
            self._held.close()
            self._held = None
