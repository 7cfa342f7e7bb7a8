"""The health service (grpc.health.v1), answered by the transport's own thread: any number of watches cost no thread."""

from typing import TYPE_CHECKING, Any

from sidecar.errors import NotFound
from sidecar.lanes.health import SERVICE_UNKNOWN, Health
from sidecar.lanes.malformed import parsed
from sidecar.transport.http2.rare import Rare, RareCall

if TYPE_CHECKING:
    from sidecar.transport.http2.connection import Connection
    from sidecar.transport.http2.methods import Entry


class HealthWatchers:
    """The open watches of the health service, by name. Belongs to the transport's thread."""

    def __init__(self) -> None:
        self._calls: dict[str, set[Any]] = {}

    def add(self, name: str, call: Any) -> None:
        """Has a call told of a name."""
        self._calls.setdefault(name, set()).add(call)

    def remove(self, name: str, call: Any) -> None:
        """Has a call told no more."""
        calls = self._calls.get(name)
        if calls is not None:
            calls.discard(call)
            if not calls:
                del self._calls[name]

    def tell(self, name: str, status: int) -> None:
        """Tells the calls of a name its new status."""
        for call in list(self._calls.get(name, ())):
            call.tell(status)


def health_check(health: Health) -> Rare:
    """`Check` of grpc.health.v1."""

    class CheckCall(RareCall):
        __slots__ = ()

        def start(self, raw: bytes) -> None:
            name = _service_of(raw)
            status = health.status(name)
            if status == SERVICE_UNKNOWN:
                self.end(NotFound(f"service {name[:64]!r} is not known here."))
                return
            self.send(_status_message(status))
            self.end()

    return Rare(CheckCall, "none")


def health_watch(health: Health, watchers: HealthWatchers) -> Rare:
    """`Watch` of grpc.health.v1: the status now, and whenever it changes."""

    class HealthWatchCall(RareCall):
        __slots__ = ("_latest", "_name", "_told")

        def __init__(self, connection: "Connection", number: int, entry: "Entry", expires: float, now: float) -> None:
            super().__init__(connection, number, entry, expires, now)
            self._name: str | None = None

        def start(self, raw: bytes) -> None:
            self._name = _service_of(raw)
            self._told = -1
            self._latest = health.status(self._name)
            watchers.add(self._name, self)
            self.drained()

        def tell(self, status: int) -> None:
            self._latest = status
            self.drained()

        def drained(self) -> None:
            if not self.gone and not self.queue and self._latest != self._told:
                self._told = self._latest
                self.send(_status_message(self._latest))

        def hang_up(self) -> None:
            super().hang_up()
            if self._name is not None:
                watchers.remove(self._name, self)

    return Rare(HealthWatchCall, "none")


def _service_of(raw: bytes) -> str:
    from grpc_health.v1 import health_pb2  # noqa: PLC0415 - a start does not need it

    return str(parsed(health_pb2.HealthCheckRequest, raw).service)


def _status_message(status: int) -> bytes:
    """The bytes of a HealthCheckResponse: its field 1 is the status."""
    return bytes((0x08, status))
