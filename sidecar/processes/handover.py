"""A worker's exchange of accepted connections with the other workers.

The kernel spreads connections over the workers' listening sockets by a hash of their addresses, so of few connections all
may land on one worker. The worker that accepts one while another has fewer sends it there. Each connection moves at most
once, before a byte of it is read.
"""

import os
import socket
from itertools import islice
from pathlib import Path

from sidecar.errors import ConfigError
from sidecar.processes.connection_table import ConnectionTable
from sidecar.processes.placer import Placer, take

# Received in one turn of the event loop.
MOST_AT_ONCE = 16


class Handover:
    """One worker's side: what it gives to others and gets from them. All from one thread.

    It gets nothing before the supervisor knows that it serves.

    Args:
        runtime: directory of the sidecar's processes.
        number: of the worker, from 0.
        workers: how many the sidecar has.
        inbox: the worker's, which it inherits from the supervisor; closed with this.
        process: id of this process.

    Raises:
        ConfigError: the directory cannot be used.
    """

    def __init__(
        self, runtime: Path, number: int, workers: int, inbox: socket.socket, process: int | None = None
    ) -> None:
        self._number = number
        self._inbox = inbox
        try:
            self._table = ConnectionTable(runtime, workers)
        except OSError as error:
            raise ConfigError(f"the runtime directory {runtime} cannot be used: {error.strerror}.") from None
        self._slot = self._table.begin(number, process or os.getpid())
        self._placer = Placer(runtime, self._table, self._table.sender(number, self._slot))
        self._closed = False

    def place(self, connection: socket.socket, own: int) -> bool:
        """Hands an accepted connection to the worker with the fewest, if that has fewer than this one.

        Never blocks, never raises.

        Args:
            connection: nothing of it was read; closed here if it was handed over.
            own: connections of this worker, without this one.

        Returns:
            True if it was handed over, False if it is to be served here.
        """
        return not self._closed and self._placer.place(connection, self._table.lighter(self._number, own))

    def count(self, connections: int) -> None:
        """Publishes how many this worker has; to be called whenever that changes. It begins with 0."""
        if not self._closed:
            self._table.publish(self._number, self._slot, connections)

    def fileno(self) -> int:
        """To be watched for reading: something was handed to this worker."""
        return self._inbox.fileno()

    def receive(self) -> list[socket.socket]:
        """Connections that were handed to this worker, to be served here and not handed on. Never blocks."""
        if self._closed:
            return []
        return list(islice(take(self._inbox, self._table, self._number, self._slot), MOST_AT_ONCE))

    def close(self) -> None:
        """Takes part no more, when this worker drains. What waits in the inbox is its successor's or the supervisor's.

        To be called after a last `receive`, since the worker that ends last has neither.
        `fileno` must not be watched any more: an epoll that still does goes on reporting it, since others have it open.
        """
        if not self._closed:
            self._closed = True
            self._placer.close()
            self._inbox.close()
