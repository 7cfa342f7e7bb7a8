"""Sends connections to workers, over Unix datagram sockets (SCM_RIGHTS).

Each worker has an inbox, a socket that the supervisor binds and keeps open for its whole life: what was sent to a worker
that dies is not lost with it, but read by its successor, or by the supervisor for the other workers.
"""

import array
import socket
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from sidecar.processes.connection_table import ConnectionTable

INBOX = "handover-{}"
# Sender and number, as the table wants them.
MESSAGE = struct.Struct("<qq")
ROOM = socket.CMSG_SPACE(array.array("i").itemsize)


class Placer:
    """Sends connections to workers.

    Args:
        runtime: directory of the sidecar's processes.
        table: the connections of all workers.
        sender: number of this process among the senders.
    """

    def __init__(self, runtime: Path, table: ConnectionTable, sender: int) -> None:
        self._runtime = runtime
        self._table = table
        self._sender = sender
        self._socket = unix_socket()

    def place(self, connection: socket.socket, workers: Sequence[int]) -> bool:
        """Sends a connection to the first of these workers that takes it. Never blocks, never raises.

        Args:
            connection: accepted, nothing of it read; closed here if it was sent.
            workers: from the one with the fewest connections to the one with the most, as the table gives them.

        Returns:
            Whether it was sent.
        """
        sent = any(self._send(connection, worker) for worker in workers)
        if sent:
            connection.close()
        return sent

    def _send(self, connection: socket.socket, worker: int) -> bool:
        number = self._table.note_sent(self._sender, worker)
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", (connection.fileno(),)))
        try:
            # socket.send_fds of Python 3.11 ignores flags and address.
            self._socket.sendmsg(
                (MESSAGE.pack(self._sender, number),),
                (rights,),
                socket.MSG_DONTWAIT,
                str(self._runtime / INBOX.format(worker)),
            )
        except OSError:  # its inbox is full, or the supervisor is gone and all end
            self._table.note_kept(self._sender, worker)
            return False
        return True

    def close(self) -> None:
        """Sends nothing any more."""
        self._socket.close()


def unix_socket() -> socket.socket:
    """A Unix datagram socket that does not block."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.settimeout(0.0)
    return made


def open_inbox(runtime: Path, number: int) -> socket.socket:
    """The inbox of a worker, for the supervisor.

    Raises:
        OSError: it cannot be made.
    """
    inbox = unix_socket()
    try:
        inbox.bind(str(runtime / INBOX.format(number)))
    except OSError:
        inbox.close()
        raise
    return inbox


def take(inbox: socket.socket, table: ConnectionTable, worker: int, receiver: int) -> Iterator[socket.socket]:
    """Receives the connections that wait in a worker's inbox, and notes each in the table. Never blocks.

    A connection for which this process has no descriptor left is closed by the kernel.

    Args:
        inbox: of the worker.
        table: the connections of all workers.
        worker: its number.
        receiver: the slot of this process, or SUPERVISOR.
    """
    while True:
        try:
            data, ancillary, _, _ = inbox.recvmsg(MESSAGE.size, ROOM, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)
        except OSError:
            return
        table.note_taken(worker, receiver, *MESSAGE.unpack(data))
        for descriptor in array.array("i", b"".join(content for _, _, content in ancillary)):
            connection = socket.socket(fileno=descriptor)
            connection.settimeout(0.0)
            yield connection
