"""A model server as far as its /metrics goes: a real HTTP server whose answers a test chooses."""

import gzip
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_GET(self) -> None:
        owner = self.server.owner
        owner.paths.append(self.path)
        owner.headers.append({name.lower(): value for name, value in self.headers.items()})
        owner.clients.add(self.client_address)
        owner.answer(self)

    def log_message(self, *_: object) -> None:
        pass

    def send(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def raw(self, data: bytes) -> None:
        """Sends these bytes and hangs up."""
        self.wfile.write(data)
        self.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    owner: "ModelServer"

    def handle_error(self, *_: object) -> None:
        pass  # clients that hang up are part of the tests


class ModelServer:
    """Serves until it is closed.

    Attributes:
        body: what it answers, until `answer` is replaced.
        answer: answers a request.
        closing: set when it closes, for answers that hang.
        paths: that were asked for.
        headers: of each request, names in small letters.
        clients: the connections that requests came over.
    """

    def __init__(self, body: str = "", tls: ssl.SSLContext | None = None) -> None:
        self.body = body
        self.answer: Answer = lambda handler: handler.send(self.body.encode())
        self.closing = threading.Event()
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.clients: set[Any] = set()
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.owner = self
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.port: int = self._server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/metrics"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def hang(self, handler: Handler) -> None:
        self.closing.wait(60)
        handler.close_connection = True


def zipped(text: str) -> bytes:
    return gzip.compress(text.encode())
