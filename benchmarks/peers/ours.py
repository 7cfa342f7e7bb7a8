"""The sidecar itself, measured as its peers are."""

from pathlib import Path

from benchmarks.h2load import CONNECTIONS, Shot, check_status, grpc_shot
from benchmarks.server import UNCACHED, Server, sidecar_command
from sidecar.lanes.services import ROUTE, ROUTE_BATCH
from sidecar.wire import router_pb2 as pb

ITEMS = 32
NOTE = "gRPC; does more than the peers: recipe, novelty, constraints, full ranking, timings; without its score cache"


class Ours:
    """The sidecar's Route, whole: text recipe, novelty, constraints, ranking, timings.

    Args:
        transport: `http2` or `grpcio`.
    """

    items = 1

    def __init__(self, transport: str) -> None:
        self.name = f"router-sidecar, {transport}"
        self.note = NOTE
        self._transport = transport
        self._server: Server | None = None
        self._method = ROUTE

    def install(self) -> None:
        """See Peer: it is installed where this runs."""

    def start(self, bundle: Path, core: int | None) -> None:
        """See Peer."""
        self._server = Server(sidecar_command(bundle, self._transport, UNCACHED), core)

    def stop(self) -> None:
        """See Peer."""
        if self._server:
            self._server.stop()
            self._server = None

    def shot(self, text: str) -> Shot:
        """See Peer."""
        return grpc_shot(self._address(), self._method, self._request(text))

    def ask(self, text: str) -> bytes:
        """See Peer."""
        return check_status(self._address(), self._method, self._request(text))

    def connections(self, in_flight: int) -> int:
        """See Peer."""
        return min(CONNECTIONS, in_flight)

    def _request(self, text: str) -> bytes:
        return pb.RouteRequest(text=text).SerializeToString()

    def _address(self) -> str:
        assert self._server is not None  # noqa: S101 - start comes first
        return self._server.address


class OursBatch(Ours):
    """The sidecar's RouteBatch on http2: as Route, with many prompts in a call."""

    items = ITEMS

    def __init__(self) -> None:
        super().__init__("http2")
        self.name = f"router-sidecar, RouteBatch of {ITEMS}"
        self.note = f"as Route, with {ITEMS} times the prompt in a call; req/s are prompts, latencies those of a call"
        self._method = ROUTE_BATCH

    def _request(self, text: str) -> bytes:
        return pb.RouteBatchRequest(requests=[pb.RouteRequest(text=text)] * ITEMS).SerializeToString()
