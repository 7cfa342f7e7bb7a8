"""The worker's end of its link to the control process: found again by itself when that process comes back."""

import logging
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue

import msgspec

from sidecar.control import frames
from sidecar.control.frames import LinkBroken
from sidecar.control.messages import (
    Beat,
    Done,
    Happened,
    Hello,
    Operate,
    Operation,
    Others,
    Prepare,
    Result,
    Run,
    Sample,
    State,
    Switch,
    ToWorker,
)
from sidecar.errors import Unavailable

log = logging.getLogger(__name__)

RETRY_S = 0.1
# A control process that does not read for so long is given up.
SEND_S = 5
Command = Prepare | Switch | Sample
_decoder: "msgspec.msgpack.Decoder[ToWorker]" = msgspec.msgpack.Decoder(ToWorker)


class Link:
    """Talks with the control process, from threads of its own.

    Args:
        path: of the control process's socket.
        hello: makes the first message of every connection.
        carry_out: carries out a command; in a thread of its own, one at a time. Must not raise.
        others: told what the other workers served.
        happened: told of events, and of what runs whenever the link is made.
    """

    def __init__(
        self,
        path: Path,
        *,
        hello: Callable[[], Hello],
        carry_out: Callable[[Command], Done],
        others: Callable[[Others], None],
        happened: Callable[[Happened | State], None],
    ) -> None:
        self._path = path
        self._hello = hello
        self._carry_out = carry_out
        self._others = others
        self._happened = happened
        self._connection: socket.socket | None = None
        self._sending = threading.Lock()
        self._assigned = threading.Event()
        self._assignment: State | None = None
        self._commands: SimpleQueue[tuple[socket.socket, Command]] = SimpleQueue()
        self._working = threading.Lock()
        self._ids = count(1)
        self._results: dict[int, SimpleQueue[Result | None]] = {}
        self._closed = threading.Event()

    def start(self) -> None:
        """Begins to look for the control process."""
        for work in (self._receive, self._work):
            threading.Thread(target=work, name=f"link-{work.__name__.strip('_')}", daemon=True).start()

    def assignment(self, patience_s: float) -> State | None:
        """What the control process says is to be run; None if it did not say so in time."""
        self._assigned.wait(patience_s)
        return self._assignment

    def tell(self, message: Beat | Done | Hello | Operate) -> bool:
        """Sends a message; False if there is nobody to hear it."""
        return self._send(message, None)

    def _send(self, message: Beat | Done | Hello | Operate, only: socket.socket | None) -> bool:
        """Sends a message over whatever connection there is, or over a certain one if that is the one."""
        data = frames.encode(message)
        with self._sending:
            connection = self._connection
            if connection is None or only not in (None, connection):
                return False
            try:
                connection.sendall(data)
            except OSError:
                # Part of it may be sent, so nothing more can be. The other thread notices, and connects anew.
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                return False
        return True

    def operate(self, operation: Operation, patience_s: float) -> Result:
        """Has the control process do what an operator asks.

        Raises:
            Unavailable: it is not there, went away meanwhile, or did not answer in time.
        """
        number = next(self._ids)
        box: SimpleQueue[Result | None] = SimpleQueue()
        self._results[number] = box
        try:
            if not self.tell(Operate(number, operation)):
                raise Unavailable("the control process is not there; it is being started again: try again in a second.")
            try:
                result = box.get(timeout=patience_s)
            except Empty:
                raise Unavailable(
                    f"the control process did not answer within {patience_s:g} s; list the bundles to see what runs."
                ) from None
            if result is None:
                raise Unavailable("the control process ended meanwhile; list the bundles to see what runs.")
            return result
        finally:
            del self._results[number]

    def close(self) -> None:
        """Hangs up."""
        self._closed.set()
        with self._sending:
            if self._connection is not None:
                with suppress(OSError):
                    self._connection.shutdown(socket.SHUT_RDWR)  # a mere close would wait for the thread that reads
                self._connection = None

    def _receive(self) -> None:
        while not self._closed.is_set():
            connection = self._connect()
            if connection is None:
                self._closed.wait(RETRY_S)
                continue
            try:
                for message in _messages(connection):
                    self._take(message, connection)
            except LinkBroken:
                pass
            except Exception:
                log.exception("a message of the control process could not be dealt with")
            with self._sending:
                self._connection = None
                connection.close()
            for box in list(self._results.values()):
                box.put(None)

    def _connect(self) -> socket.socket | None:
        connection = socket.socket(socket.AF_UNIX)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_S, 0))
        try:
            connection.connect(str(self._path))
            # Not in the midst of a command of the control process before: what it changes must be told to this one.
            with self._working:
                connection.sendall(frames.encode(self._hello()))
        except OSError:
            connection.close()
            return None
        with self._sending:
            self._connection = connection
        return connection

    def _take(self, message: ToWorker, connection: socket.socket) -> None:
        if isinstance(message, Prepare | Switch | Sample):
            self._commands.put((connection, message))
        elif isinstance(message, Result):
            if (box := self._results.get(message.id)) is not None:
                box.put(message)
        elif isinstance(message, Others):
            self._others(message)
        elif isinstance(message, Run):
            self._assignment = message.state
            self._assigned.set()
            self._happened(message.state)
        else:
            self._happened(message)

    def _work(self) -> None:
        while True:
            connection, command = self._commands.get()
            with self._working:
                # Who gave it is gone otherwise: whoever came after knows nothing of it, and gives the same numbers anew.
                done = self._carry_out(command) if connection is self._connection else None
            if done is not None:
                self._send(done, connection)


def _messages(connection: socket.socket) -> Iterator[ToWorker]:
    while True:
        yield frames.receive(connection, _decoder)
