"""A worker for tests: answers whatever comes over a connection with its pid, and ends as the real one does."""

import json
import os
import selectors
import signal
import socket
import sys
from pathlib import Path

from sidecar.processes.listeners import handed_down


class ToyWorker:
    """One thread, one selector."""

    def __init__(self, number: int, runtime: Path, arguments: list[str]) -> None:
        self.listener, self.handover = handed_down(number, runtime, arguments)
        self.clients: set[socket.socket] = set()
        self.selector = selectors.DefaultSelector()
        self.told, tell = os.pipe()
        os.set_blocking(tell, False)
        signal.set_wakeup_fd(tell)
        signal.signal(signal.SIGTERM, lambda *_: None)
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.selector.register(self.handover, selectors.EVENT_READ)
        self.selector.register(self.told, selectors.EVENT_READ)

    def run(self) -> None:
        draining = False
        while not draining or self.clients:
            for key, _ in self.selector.select():
                if key.fileobj is self.listener:
                    self.accept()
                elif key.fileobj is self.handover:
                    for connection in self.handover.receive():
                        self.serve(connection)
                elif key.fileobj == self.told:
                    draining = True
                    for watched in (self.listener, self.handover, self.told):
                        self.selector.unregister(watched)
                    # Others may be there for these, or may not.
                    self.accept()
                    for connection in self.handover.receive():
                        self.serve(connection)
                    self.listener.close()
                    self.handover.close()
                    break
                else:
                    self.answer(key.fileobj)  # type: ignore[arg-type]

    def accept(self) -> None:
        try:
            connection, _ = self.listener.accept()
        except BlockingIOError:
            return
        if not self.handover.place(connection, len(self.clients)):
            self.serve(connection)

    def serve(self, connection: socket.socket) -> None:
        self.clients.add(connection)
        self.selector.register(connection, selectors.EVENT_READ)
        self.handover.count(len(self.clients))

    def answer(self, connection: socket.socket) -> None:
        try:
            asked = connection.recv(100)
        except ConnectionError:
            asked = b""
        if asked:
            connection.sendall(f"{os.getpid()}\n".encode())
            return
        self.clients.discard(connection)
        self.selector.unregister(connection)
        connection.close()
        self.handover.count(len(self.clients))


if __name__ == "__main__":
    worker = ToyWorker(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[4:])
    print(json.dumps({"transport": "toy", "running": ""}), flush=True)  # noqa: T201 - as the supervisor expects it
    worker.run()
