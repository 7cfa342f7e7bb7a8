"""The workers' listening sockets, which belong to the supervisor and outlive the workers.

One for each worker, on one port (SO_REUSEPORT). A worker inherits its own; when it is killed, the connections that wait
there are not reset, but taken up by the other workers or by its successor. A worker begins to listen when it is ready,
so until the first one is, clients are refused.
"""

import asyncio
import socket
from contextlib import ExitStack
from pathlib import Path

from sidecar.config import Config
from sidecar.errors import ConfigError
from sidecar.processes.connection_table import ConnectionTable
from sidecar.processes.handover import Placer, unix_socket
from sidecar.processes.relay import Relay

# Connections that may wait at one worker. The kernel lowers it to net.core.somaxconn.
BACKLOG = 1024


def hands_down_listeners(config: Config) -> bool:
    """Whether the workers serve listening sockets of the supervisor's; workers with grpcio bind by themselves.

    Where they do, the supervisor must have none, since the kernel would spread connections over these too.
    """
    return bool(getattr(config, "transport", "grpcio") == "http2")


def inherited(descriptor: int) -> socket.socket:
    """A worker's listening socket, from the number that its supervisor gave it. It listens from now on.

    It shares its state with the supervisor's and the successor's: it does not block, and to stop accepting, a worker
    removes it from its event loop and then closes it; `shutdown` would end it for all.
    """
    listener = socket.socket(fileno=descriptor)
    listener.set_inheritable(False)
    listener.settimeout(0.0)
    listener.listen(BACKLOG)
    return listener


class Listeners:
    """The listening sockets of all workers, in the supervisor.

    Args:
        reserved: bound to the port, as `host.reserve` gives it.
        workers: how many there are.
        runtime: directory of the sidecar's processes.

    Raises:
        ConfigError: they cannot be had.
    """

    def __init__(self, reserved: socket.socket, workers: int, runtime: Path) -> None:
        self._sockets: list[socket.socket] = []
        self._attended: list[tuple[Relay, asyncio.Event]] = []
        self._tasks: list[asyncio.Task[None]] = []
        with ExitStack() as opened:
            try:
                self._table = ConnectionTable(runtime, workers)
                opened.callback(self._table.close)
                self._sender = opened.enter_context(unix_socket())
                for _ in range(workers):
                    self._sockets.append(opened.enter_context(_bound_like(reserved)))
            except OSError as error:
                raise ConfigError(f"listen: there are no sockets for {workers} workers: {error.strerror}.") from None
            self._opened = opened.pop_all()
        placer = Placer(runtime, self._table, self._sender)
        self._relays = [Relay(listener, placer) for listener in self._sockets]

    def descriptor(self, number: int) -> int:
        """What worker `number` inherits; it has the same number there."""
        return self._sockets[number].fileno()

    def attend(self, number: int, down: asyncio.Event) -> None:
        """From now on the other workers get the connections of worker `number` while `down` is set."""
        relay = self._relays[number]
        self._attended.append((relay, down))
        self._tasks.append(asyncio.get_running_loop().create_task(relay.run(down)))

    async def close(self) -> None:
        """Closes them here; each is gone when its worker has closed it too."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for relay, down in self._attended:
            relay.pass_on(accepting=down.is_set())
        self._attended = []
        for relay in self._relays:
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
