"""A sidecar for clients of other languages, once for each transport, and what a test may do to it."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from sidecar.config import Config
from sidecar.door.settings import TlsConfig
from sidecar.server import Server
from tests import pki

pytest.register_assert_rewrite("tests.clients.cases")

# The transports that every client is tried on.
TRANSPORTS = ("http2", "grpcio")
# Those whose frames gRPC's core reads and writes, which leaves out some of HTTP/2.
OVER_GRPC_CORE = frozenset({"grpcio"})


class Sidecar:
    """A started sidecar.

    Attributes:
        server: the one under test, in this process.
        address: HOST:PORT where it listens.
    """

    def __init__(self, config: Config) -> None:
        self.server = Server(config)
        self.address = self.server.start()
        self._hold: Hold | None = None

    def hold(self) -> "Hold":
        """Makes every scoring wait from now on, until the hold is released."""
        self._hold = Hold(self.server)
        return self._hold

    def close(self) -> None:
        if self._hold is not None:
            self._hold.release()
        self.server.drain()


class Hold:
    """Scoring that waits: calls stay in flight for as long as a test needs them."""

    def __init__(self, server: Server) -> None:
        router = server.services.engine._router
        score = router._score
        assert score is not None
        self._entered, self._released = threading.Event(), threading.Event()

        def wait(texts: Any) -> Any:
            self._entered.set()
            assert self._released.wait(60)
            return score(texts)

        router._score = wait

    def entered(self) -> bool:
        """Waits until a request is being scored; False if none was within 30 s."""
        return self._entered.wait(30)

    def release(self) -> None:
        """Lets what waits, and all that comes, be scored."""
        self._released.set()


Start = Callable[..., Sidecar]


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    """The name of a transport; a test that asks for it runs once for each."""
    return str(request.param)


@pytest.fixture
def start(tiny_bundle: Path, transport: str) -> Iterator[Start]:
    """Starts sidecars on the tiny bundle; `start(**config)`."""
    running: list[Sidecar] = []

    def start(**settings: Any) -> Sidecar:
        given: dict[str, Any] = {"bundle": str(tiny_bundle), "listen": "127.0.0.1:0", "drain_seconds": 5.0, **settings}
        running.append(Sidecar(Config(transport=transport, **given).checked()))  # type: ignore[arg-type]
        return running[-1]

    yield start
    for one in running:
        one.close()


@pytest.fixture
def sidecar(start: Start) -> Sidecar:
    """A sidecar with default settings."""
    return start()


class Secured:
    """A sidecar that speaks TLS only.

    Attributes:
        address: HOST:PORT where it listens; the certificate is for HOST.
        ca: PEM file of the authority that signed its certificate.
        foreign_ca: PEM file of another authority.
    """

    def __init__(self, start: Start, directory: Path) -> None:
        ca = trustme.CA()
        files = pki.write(pki.issue(ca), directory / "server")
        self.ca = pki.write_ca(ca, directory / "ca.pem")
        self.foreign_ca = pki.write_ca(trustme.CA(), directory / "foreign.pem")
        self.address = start(tls=TlsConfig(certificate=str(files.certificate), key=str(files.key))).address


@pytest.fixture
def secured(start: Start, tmp_path: Path) -> Secured:
    """A sidecar behind TLS."""
    return Secured(start, tmp_path)
