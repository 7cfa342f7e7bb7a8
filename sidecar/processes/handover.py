"""Moves accepted connections to the worker that has the fewest, over Unix datagram sockets (SCM_RIGHTS).

The kernel spreads connections over the workers' listening sockets by a hash of their addresses, so of few connections all
may land on one worker. Each connection moves at most once, before a byte of it is read.

What the kernel guarantees, and is relied on here: a datagram to a socket of which the process is dead is refused at once;
one that was accepted stays readable until its receiver closes, even after `shutdown(SHUT_RD)`, from which on further ones
are refused. So a worker that ends in good order loses none. One that is killed between a handover and its next look at
the socket takes the connection with it: the client sees it reset before any answer. gRPC clients send no call before the
server's first frame, so for them it is a failed attempt to connect.
"""

import array
import os
import socket
from contextlib import suppress
from pathlib import Path

from sidecar.errors import ConfigError
from sidecar.processes.connection_table import ConnectionTable

SOCKETS = "handover-{}"
NUMBER_BYTES = 8
ROOM = socket.CMSG_SPACE(array.array("i").itemsize)
# Between two looks at its own clients.
MOST_AT_ONCE = 16


class Placer:
    """Hands connections to the workers that have the fewest.

    Args:
        runtime: directory of the sidecar's processes.
        table: the connections of all workers.
        sender: a Unix datagram socket that does not block; closed by its owner.
        own: row of this process, which is never chosen; -1 for a process that serves none.
    """

    def __init__(self, runtime: Path, table: ConnectionTable, sender: socket.socket, own: int = -1) -> None:
        self._runtime = runtime
        self._table = table
        self._sender = sender
        self._own = own

    def can_place(self) -> bool:
        """Whether some worker takes connections, as far as is known."""
        return self._table.emptiest(None, self._own) is not None

    def place(self, connection: socket.socket, below: int | None = None) -> bool:
        """Hands a connection to the worker with the fewest. Never blocks, never raises.

        Args:
            connection: accepted, nothing of it read; closed here if it was handed over.
            below: how many that worker must be below; None is any number.

        Returns:
            Whether it was handed over.
        """
        if self._table.emptiest(below, self._own) is None or not self._table.try_lock():
            return False
        try:
            handed = self._hand(connection, below)
        finally:
            self._table.unlock()
        if handed:
            connection.close()
        return handed

    def _hand(self, connection: socket.socket, below: int | None) -> bool:
        table = self._table
        while (row := table.emptiest(below, self._own)) is not None:
            number = table.next_number(row)
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", (connection.fileno(),)))
            try:
                # socket.send_fds of Python 3.11 ignores flags and address.
                self._sender.sendmsg(
                    (number.to_bytes(NUMBER_BYTES, "little"),),
                    (rights,),
                    socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL,
                    str(self._runtime / SOCKETS.format(row)),
                )
            except (ConnectionRefusedError, FileNotFoundError, BrokenPipeError):
                table.retire(
                    row
                )  # it is dead, or ends; its successor cannot have begun, since this process has the lock
            except OSError:
                return False  # its socket is full, or there are no descriptors left
            else:
                table.note_handed(row, number)
                return True
        return False


class Handover:
    """One worker's side: what it gives to others and gets from them. All from one thread.

    It takes nothing from others before `count` is called for the first time.

    Args:
        runtime: directory of the sidecar's processes.
        number: of the worker, from 0.
        workers: how many the sidecar has.

    Raises:
        ConfigError: two processes of this number are there already, or the directory cannot be written.
    """

    def __init__(self, runtime: Path, number: int, workers: int) -> None:
        self._runtime = runtime
        self._closed = False
        try:
            self._table = ConnectionTable(runtime, workers)
        except OSError as error:
            raise ConfigError(f"the runtime directory {runtime} cannot be used: {error.strerror}.") from None
        self._socket = unix_socket()
        try:
            self._row = self._claim((number, number + workers))
        except BaseException:
            self._socket.close()
            self._table.close()
            raise
        self._placer = Placer(runtime, self._table, self._socket, self._row)

    def _claim(self, rows: tuple[int, int]) -> int:
        """Binds the socket of a row that no living process has; a row belongs to the process that holds its socket."""
        self._table.lock()
        try:
            for row in rows:
                path = self._runtime / SOCKETS.format(row)
                if not _is_held(path):
                    path.unlink(missing_ok=True)
                    self._socket.bind(str(path))
                    self._table.begin(row)
                    return row
        except OSError as error:
            raise ConfigError(f"the runtime directory {self._runtime} cannot be used: {error.strerror}.") from None
        finally:
            self._table.unlock()
        raise ConfigError(f"worker {rows[0]} runs twice already.")

    def place(self, connection: socket.socket, own: int) -> bool:
        """Hands an accepted connection to the worker with the fewest, if that has fewer than this one.

        Never blocks, never raises.

        Args:
            connection: nothing of it was read; closed here if it was handed over.
            own: connections of this worker, without this one.

        Returns:
            True if it was handed over, False if it is to be served here.
        """
        return not self._closed and self._placer.place(connection, own + self._table.coming(self._row))

    def count(self, connections: int) -> None:
        """Publishes how many this worker has; to be called when it begins to serve (0), and whenever it changes."""
        if not self._closed:
            self._table.publish(self._row, connections)

    def fileno(self) -> int:
        """To be watched for reading: something was handed to this worker."""
        return self._socket.fileno()

    def receive(self) -> list[socket.socket]:
        """Connections that were handed to this worker, to be served here and not handed on. Never blocks.

        A connection that comes while this process is at its limit of descriptors is closed by the kernel.
        """
        found: list[socket.socket] = []
        while len(found) < MOST_AT_ONCE:
            flags = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
            try:
                data, ancillary, _, _ = self._socket.recvmsg(NUMBER_BYTES, ROOM, flags)
            except OSError:
                break
            if not data:
                break
            if not self._closed:
                self._table.note_taken(self._row, int.from_bytes(data, "little"))
            descriptors = array.array("i")
            for _, _, content in ancillary:
                descriptors.frombytes(content)
            for descriptor in descriptors:
                connection = socket.socket(fileno=descriptor)
                connection.settimeout(0.0)
                found.append(connection)
        return found

    def close(self) -> None:
        """Takes this worker out: nothing comes from now on, and what came and was not received goes to the others.

        To be called first thing when it drains, and after `fileno` is no longer watched.
        """
        if self._closed:
            return
        self._closed = True
        self._table.retire(self._row)
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)
        while rest := self.receive():
            for connection in rest:
                if not self._placer.place(connection):
                    connection.close()
        (self._runtime / SOCKETS.format(self._row)).unlink(missing_ok=True)
        self._socket.close()
        self._table.close()


def unix_socket() -> socket.socket:
    """A Unix datagram socket that does not block."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.settimeout(0.0)
    return made


def _is_held(path: Path) -> bool:
    """Whether a living process has the socket of this name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
    return True
