"""What a transport is, and what it is given."""

import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sidecar.config import Config
from sidecar.door.admission import Admission
from sidecar.door.certificates import Certificates
from sidecar.door.exposure import check_exposure
from sidecar.door.settings import LimitsConfig


@dataclass(frozen=True)
class Access:
    """How calls get in.

    Attributes:
        limits: what one caller may take.
        max_message_bytes: of one request message, packed or not.
        certificates: of the port; None is plain text.
        tokens: checks calls; None lets every call in, and nothing is checked.
        shared: True if other processes may listen on the same port.
    """

    limits: LimitsConfig
    max_message_bytes: int
    certificates: Certificates | None = None
    tokens: Admission | None = None
    shared: bool = False


class Handover(Protocol):
    """Moves connections between the workers of one port, so that each has about as many; see sidecar.processes.handover.

    From one thread.
    """

    def place(self, connection: socket.socket, own: int) -> bool:
        """Hands an accepted connection to a worker that has fewer; True if it did. Never blocks or raises."""
        ...

    def count(self, connections: int) -> None:
        """Publishes how many connections this worker has."""
        ...

    def fileno(self) -> int:
        """A descriptor that can be read when connections were handed to this worker."""
        ...

    def receive(self) -> list[socket.socket]:
        """The connections that were handed to this worker. Never blocks."""
        ...

    def close(self) -> None:
        """Takes this worker out of the exchange; after a last `receive`."""
        ...


class Transport(Protocol):
    """A running server. `start` once, then `drain` once.

    Attributes:
        open: connections that are open now; 0 where the transport does not know. From any thread.
        closed: connections that were closed for a fault of theirs, by reason, since the start. From any thread.
    """

    @property
    def open(self) -> int: ...  # noqa: D102 - said above
    @property
    def closed(self) -> Mapping[str, int]: ...  # noqa: D102 - said above

    @property
    def thread(self) -> threading.Thread:
        """Carries the hot methods, once it is started."""
        ...

    def start(self, listen: str, listeners: Sequence[socket.socket] = (), handover: Handover | None = None) -> str:
        """Listens on HOST:PORT and serves; gives the address with the port that was chosen.

        Args:
            listen: HOST:PORT.
            listeners: sockets that listen already, to be used instead.
            handover: exchanges connections with the other workers of the port.

        Raises:
            ConfigError: the address cannot be had.
        """
        ...

    def drain(self, grace: float) -> None:
        """Health says NOT_SERVING, calls in flight may end for `grace` seconds; returns when all is closed."""
        ...


def access_of(config: Config, *, shared: bool = False) -> Access:
    """The access that is configured; `shared`: other processes may listen on the same port.

    Raises:
        ConfigError: it would be open to strangers, or a certificate or the tokens are wrong.
    """
    check_exposure(config.listen, config.tls, config.tokens, insecure=config.insecure)
    return Access(
        config.limits,
        config.max_message_bytes,
        Certificates(config.tls) if config.tls else None,
        Admission(config.tokens) if config.tokens else None,
        shared,
    )


def bound(listen: str, port: int) -> str:
    """The address with the port that was chosen."""
    return f"{listen.rpartition(':')[0]}:{port}"
