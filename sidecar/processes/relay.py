"""Stands in for workers that are down: connections that wait for one of them go to the others."""

import asyncio
import socket

from sidecar.processes.handover import Placer

# Between two looks at the listening socket of a worker that is down, and only then.
PERIOD_S = 0.01
# Between two turns of the supervisor's loop.
MOST_AT_ONCE = 256


class Relay:
    """Empties the queue of one worker's listening socket while that worker is down.

    A connection is accepted only if some other worker takes connections, and at most one is held here: what cannot be
    handed over waits in the kernel for the worker's successor.

    Args:
        listener: the worker's, listening or not, not blocking.
        placer: hands connections over.
    """

    def __init__(self, listener: socket.socket, placer: Placer) -> None:
        self._listener = listener
        self._placer = placer
        self._held: socket.socket | None = None

    async def run(self, down: asyncio.Event) -> None:
        """Serves the queue whenever `down` is set, until it is cancelled."""
        while True:
            await down.wait()
            while down.is_set() or self._held is not None:
                self.pass_on(accepting=down.is_set())
                await asyncio.sleep(PERIOD_S)

    def pass_on(self, *, accepting: bool = True) -> None:
        """Hands over what waits now, as far as others take it.

        Args:
            accepting: False leaves all but the one that is held already.
        """
        for _ in range(MOST_AT_ONCE):
            if self._held is None and not (accepting and self._placer.can_place()):
                return
            if self._held is None:
                try:
                    self._held, _ = self._listener.accept()
                except OSError:  # nothing waits, it never listened, or there are no descriptors left
                    return
            if not self._placer.place(self._held):
                return
            self._held = None

    def close(self) -> None:
        """Drops the connection that is held, if there is one."""
        if self._held is not None:
            self._held.close()
            self._held = None
