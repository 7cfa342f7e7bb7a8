"""mosec: a Rust HTTP front end before Python workers."""

import http.client
import json
from pathlib import Path

from benchmarks.h2load import Shot
from benchmarks.peers.peer import Environment, PeerFault, Program, free_port

OK = 200


class Mosec:
    """mosec over HTTP/1.1, one worker.

    Args:
        batch: most requests of one batch; 1 switches batching off, and with it the wait of at least 1 ms.
    """

    items = 1

    def __init__(self, batch: int) -> None:
        self.name = "mosec 0.9.8" if batch > 1 else "mosec 0.9.8, no batches"
        self.note = (
            "HTTP/1.1 with JSON, one connection for each call in flight; its batcher waits at least 1 ms"
            if batch > 1
            else "HTTP/1.1 with JSON; its best latency"
        )
        self._batch = batch
        self._environment = Environment("mosec", ("mosec==0.9.8", "msgspec"))
        self._program = Program()
        self._port = 0

    def install(self) -> None:
        """See Peer."""
        self._environment.install()

    def start(self, bundle: Path, core: int | None) -> None:
        """See Peer."""
        self._port = free_port()
        options = ["--address", "127.0.0.1", "--port", str(self._port), "--log-level", "error"]
        self._program.start(
            [str(self._environment.python), "serve_mosec.py", *options],
            core,
            {"PEER_BUNDLE": str(bundle), "PEER_BATCH": str(self._batch)},
        )
        self._program.await_answer(lambda: self.ask("hello"))

    def stop(self) -> None:
        """See Peer."""
        self._program.stop()

    def shot(self, text: str) -> Shot:
        """See Peer."""
        headers = ("--h1", "-H", "content-type: application/json")
        return Shot(f"http://127.0.0.1:{self._port}/inference", json.dumps({"text": text}).encode(), headers)

    def ask(self, text: str) -> bytes:
        """See Peer."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request("POST", "/inference", json.dumps({"text": text}))
            reply = connection.getresponse()
            body = reply.read()
        except http.client.HTTPException as error:
            raise PeerFault(f"no HTTP reply: {type(error).__name__}") from None
        finally:
            connection.close()
        if reply.status != OK or "model" not in json.loads(body):
            raise PeerFault(f"HTTP {reply.status}: {body[:200]!r}")
        return body

    def connections(self, in_flight: int) -> int:
        """See Peer."""
        return in_flight
