"""What a call's headers lead to: the method, how its stream is served, or why it is refused."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from sidecar.errors import InvalidRequest, RouterError, Unimplemented
from sidecar.lanes.lane import Hot, Services
from sidecar.lanes.roles import role_of
from sidecar.transport.http2.calls import StreamCall, UnaryCall
from sidecar.transport.http2.headers import Head
from sidecar.transport.http2.plain import PlainRequest
from sidecar.transport.http2.rare import Rare
from sidecar.transport.transport import Access

if TYPE_CHECKING:
    from sidecar.door.admission import Admit
    from sidecar.transport.http2.connection import Connection
    from sidecar.transport.http2.streams import Stream

Open = Callable[["Connection", int, "Entry", float, float], "Stream"]


class Entry(NamedTuple):
    """What one set of headers leads to; made once for each set, and kept.

    Attributes:
        open: makes the stream; None where the call is refused.
        hot: the method, where it is a hot one.
        encoding: of compressed messages; empty if the headers name none.
        length: of the body, if the headers promise one.
        metadata: what the check of tokens looks at.
        admit: the check; None where none is needed.
        refusal: why the call is refused.
        plain: (HTTP status, text) for what is no gRPC call.
        bodiless: True if that text may not be sent.
    """

    open: Open | None
    hot: Hot | None = None
    encoding: bytes = b""
    length: int | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    admit: "Admit | None" = None
    refusal: RouterError | None = None
    plain: tuple[int, str] | None = None
    bodiless: bool = False


SPOKEN_HERE = (
    "This port speaks gRPC over HTTP/2 (POST, content-type: application/grpc). "
    "Try: grpcurl -plaintext HOST:PORT list, or router-sidecar info.\n"
)


class Methods:
    """The methods of a port.

    Args:
        services: hot and rare methods.
        access: who is let in.
        rare: further rare methods of the transport itself: health, reflection.
    """

    def __init__(self, services: Services, access: Access, rare: Mapping[str, Rare]) -> None:
        self._open: dict[str, tuple[Open, Hot | None]] = {path: (each.open, None) for path, each in rare.items()}
        self._open |= {path: (UnaryCall, hot) for path, hot in services.unary.items()}
        self._open |= {path: (StreamCall, hot) for path, hot in services.streams.items()}
        self._admit: dict[str, Admit] = {}
        if access.tokens is not None:
            for path in self._open:
                check = rare[path].check if path in rare else "role"
                if check != "none":
                    self._admit[path] = access.tokens.keeper(role_of(path) if check == "role" else None)

    def entry(self, head: Head) -> Entry:
        """What a call's headers lead to."""
        if head.fault == "content-type":
            return Entry(PlainRequest, plain=(415, SPOKEN_HERE), length=head.length, bodiless=head.bodiless)
        if head.fault == "method":
            return Entry(PlainRequest, plain=(405, SPOKEN_HERE), length=head.length, bodiless=head.bodiless)
        path = head.path.decode("latin-1")
        found = self._open.get(path)
        if found is None:
            return Entry(None, refusal=Unimplemented(f"method not found: {path[:128]!r}."), length=head.length)
        if head.fault == "timeout":
            refusal = InvalidRequest("grpc-timeout is none: give up to eight digits and one of H, M, S, m, u, n.")
            return Entry(None, refusal=refusal, length=head.length)
        open_, hot = found
        metadata = () if head.authorization is None else (("authorization", head.authorization),)
        return Entry(open_, hot, head.encoding, head.length, metadata, self._admit.get(path))
