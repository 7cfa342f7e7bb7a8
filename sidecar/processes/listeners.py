"""The workers' listening sockets, which belong to the supervisor and outlive the workers.

One for each worker, on one port (SO_REUSEPORT). A worker inherits its own; when it is killed, the connections that wait
there are not reset, but taken up by the other workers or by its successor. A worker begins to listen when it is ready,
so until the first one is, clients are refused.
"""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from sidecar.config import Config
from sidecar.errors import ConfigError
from sidecar.processes.connection_table import ConnectionTable
from sidecar.processes.handover import Handover
from sidecar.processes.placer import Placer, open_inbox
from sidecar.processes.relay import Relay

# Connections that may wait at one worker. The kernel lowers it to net.core.somaxconn.
BACKLOG = 1024


def hands_down_listeners(config: Config) -> bool:
    """Whether the workers serve listening sockets of the supervisor's; workers with grpcio bind by themselves.

    Where they do, the supervisor must have none, since the kernel would spread connections over these too.
    """
    return config.transport == "http2"


def handed_down(number: int, runtime: Path, arguments: Sequence[str]) -> tuple[socket.socket, Handover]:
    """A worker's listening socket and its exchange with the other workers, from what its supervisor told it.

    The socket listens from now on. It shares its state with the supervisor's and the successor's: it does not block, and
    to stop accepting, a worker removes it from its event loop and then closes it; `shutdown` would end it for all.

    Args:
        number: of the worker.
        runtime: directory of the sidecar's processes.
        arguments: see `Listeners.arguments`.

    Raises:
        ConfigError: the directory cannot be used.
    """
    listener, inbox = (socket.socket(fileno=int(descriptor)) for descriptor in arguments[:2])
    for each in (listener, inbox):
        each.set_inheritable(False)
        each.settimeout(0.0)
    listener.listen(BACKLOG)
    return listener, Handover(runtime, number, int(arguments[2]), inbox)


class Listeners:
    """The sockets of all workers, in the supervisor: each one's listening socket and its inbox. Made in its event loop.

    Args:
        reserved: bound to the port, as `host.reserve` gives it.
        workers: how many there are.
        runtime: directory of the sidecar's processes.

    Raises:
        ConfigError: they cannot be had.
    """

    def __init__(self, reserved: socket.socket, workers: int, runtime: Path) -> None:
        self._workers = workers
        self._sockets: list[tuple[socket.socket, socket.socket]] = []
        self._relays: list[Relay] = []
        with ExitStack() as opened:
            try:
                self._table = ConnectionTable(runtime, workers)
                placer = Placer(runtime, self._table, self._table.supervisor)
                opened.callback(placer.close)
                for number in range(workers):
                    listener = opened.enter_context(_bound_like(reserved))
                    inbox = opened.enter_context(open_inbox(runtime, number))
                    self._sockets.append((listener, inbox))
                    self._relays.append(Relay(number, listener, inbox, self._table, placer))
            except OSError as error:
                raise ConfigError(f"listen: there are no sockets for {workers} workers: {error.strerror}.") from None
            self._opened = opened.pop_all()
        self._tasks = [asyncio.ensure_future(relay.run()) for relay in self._relays]

    def descriptors(self, number: int) -> tuple[int, int]:
        """What worker `number` inherits: its listening socket and its inbox, under the same numbers there."""
        listener, inbox = self._sockets[number]
        return listener.fileno(), inbox.fileno()

    def arguments(self, number: int) -> tuple[str, ...]:
        """What worker `number` is told of them; see `handed_down`."""
        return (*map(str, self.descriptors(number)), str(self._workers))

    def serves(self, number: int, process: int | None) -> None:
        """Tells which process serves as worker `number`. While none does, the other workers get its connections.

        Args:
            number: of the worker.
            process: its id; None for none.
        """
        if self._tasks:
            self._table.set_process(number, process or 0)
            down = self._relays[number].down
            down.set() if process is None else down.clear()

    async def close(self) -> None:
        """Closes them here; each is gone when its worker has closed it too."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for relay in self._relays if tasks else ():
            if relay.down.is_set():
                relay.pass_on()
            relay.close()
        self._opened.close()


def _bound_like(reserved: socket.socket) -> socket.socket:
    made = socket.socket(reserved.family, reserved.type, reserved.proto)
    try:
        made.settimeout(0.0)
        # What was accepted inherits it; without it, remains of closed connections would keep the next sidecar from binding.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind(reserved.getsockname())
    except OSError:
        made.close()
        raise
    return made
