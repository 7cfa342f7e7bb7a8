"""How the exchange with other sidecars fares: for the log, and for whoever keeps watch."""

import logging

import msgspec

log = logging.getLogger(__name__)


class PeersTally(msgspec.Struct):
    """Counts exchanges. Says in the log when they begin to fail and when they are back, not in between.

    Attributes:
        server: where it is.
        group: whose sidecars hear of each other.
        name: of this sidecar.
        ok: exchanges.
        failed: that did not come about.
        unreadable: messages and sums that were left out, being of another version or no messages at all.
        peers: other sidecars that count at present.
        oldest_seconds: how old the oldest of their counts was when they were added up last.
        fault: why there is no exchange at present; empty if there is.
        exchanged_unix: when the last one was, in Unix seconds; 0 is never.
        puzzled: whether the last one brought anything unreadable.
    """

    server: str
    group: str
    name: str
    ok: int = 0
    failed: int = 0
    unreadable: int = 0
    peers: int = 0
    oldest_seconds: float = 0.0
    fault: str = ""
    exchanged_unix: float = 0.0
    puzzled: bool = False

    def exchanged(self, unix: float) -> None:
        """There was an exchange."""
        if self.fault:
            log.info("peers: %s is back", self.server)
        self.ok += 1
        self.fault = ""
        self.exchanged_unix = unix

    def fail(self, why: str) -> None:
        """There was none."""
        if not self.fault:
            log.warning("peers: %s; each sidecar goes by itself until it is back", why)
        self.failed += 1
        self.fault = why

    def read(self, faults: int, why: str) -> None:
        """What an exchange brought was read.

        Args:
            faults: messages and sums among it that could not be.
            why: what was wrong with one of them.
        """
        self.unreadable += faults
        if faults and not self.puzzled:
            log.warning("peers: %s: group %r: %s; left out, as are further ones", self.server, self.group, why)
        elif self.puzzled and not faults:
            log.info("peers: %s: group %r: all can be read again", self.server, self.group)
        self.puzzled = bool(faults)
