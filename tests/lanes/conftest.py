"""A real sidecar on a real port, once for each transport."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from sidecar.config import Config
from sidecar.server import Server
from sidecar.wire import router_pb2_grpc as rpc

TRANSPORTS = ("http2", "grpcio")


class Running:
    """A started sidecar with a client.

    Attributes:
        server: ours.
        address: where it listens.
        channel: a client's connection.
        stub: of RouterService.
    """

    def __init__(self, config: Config) -> None:
        self.server = Server(config)
        self.address = self.server.start()
        self.channel = grpc.insecure_channel(self.address, options=[("grpc.max_receive_message_length", -1)])
        self.stub: Any = rpc.RouterServiceStub(self.channel)  # type: ignore[no-untyped-call]
        self._stopped = False

    def drain(self) -> None:
        if not self._stopped:
            self._stopped = True
            self.server.drain()

    def close(self) -> None:
        self.channel.close()
        self.drain()


Start = Callable[..., Running]


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    """The name of a transport; a test that asks for it runs once for each."""
    return str(request.param)


@pytest.fixture
def start(tiny_bundle: Path) -> Iterator[Start]:
    """Starts sidecars; `start(transport, **config)`."""
    running: list[Running] = []

    def start(transport: str, **settings: Any) -> Running:
        given = {"bundle": str(tiny_bundle), "listen": "127.0.0.1:0", "drain_seconds": 5.0, **settings}
        running.append(Running(Config(transport=transport, **given).checked()))  # type: ignore[arg-type]
        return running[-1]

    yield start
    for one in running:
        one.close()


@pytest.fixture
def sidecar(start: Start, transport: str) -> Running:
    """A sidecar on the tiny bundle with default settings."""
    return start(transport)
