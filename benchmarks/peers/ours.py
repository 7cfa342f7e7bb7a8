"""The sidecar itself, measured as its peers are."""

from pathlib import Path

from benchmarks.h2load import CONNECTIONS, Shot, check_status, grpc_shot
from benchmarks.server import UNCACHED, Server, sidecar_command
from sidecar.lanes.services import ROUTE
from sidecar.wire import router_pb2 as pb


class Ours:
    """The sidecar's Route, whole: text recipe, novelty, constraints, ranking, timings.

    Args:
        transport: `http2` or `grpcio`.
    """

    def __init__(self, transport: str) -> None:
        self.name = f"router-sidecar, {transport}"
        self.note = "gRPC; does more than the peers: recipe, novelty, constraints, full ranking, timings; without its score cache"
        self._transport = transport
        self._server: Server | None = None

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
        return grpc_shot(self._address(), ROUTE, pb.RouteRequest(text=text).SerializeToString())

    def ask(self, text: str) -> bytes:
        """See Peer."""
        return check_status(self._address(), ROUTE, pb.RouteRequest(text=text).SerializeToString())

    def connections(self, in_flight: int) -> int:
        """See Peer."""
        return min(CONNECTIONS, in_flight)

    def _address(self) -> str:
        assert self._server is not None  # noqa: S101 - start comes first
        return self._server.address
