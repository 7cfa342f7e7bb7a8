"""The other sidecars of the group, added up."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sidecar.fleet.budget import PREFIX
from sidecar.fleet.peers.census import Census, Own
from sidecar.fleet.peers.message import Report
from sidecar.fleet.peers.peer import Peer

# One that decides far more often than this sidecar is taken to do so by no more than this: what one decision here says of
# a hundred elsewhere is little, and whoever decides most has the least of others to presume.
MOST_ALIKE = 4.0

Column = NDArray[np.float64]


class Sums(NamedTuple):
    """Of all others, each [C] in the order of Own.names.

    Attributes:
        in_flight: calls.
        tokens_in_flight: expected in them.
        likewise: decisions that they make while this sidecar makes one.
        own_then: this sidecar's calls in flight when they counted theirs; of several times the mean.
        cool_until: before which a candidate wants nothing; 0: nothing is known.
        oldest_seconds: how old the oldest of their counts is.
    """

    in_flight: Column
    tokens_in_flight: Column
    likewise: Column
    own_then: Column
    cool_until: Column
    oldest_seconds: float


class Group:
    """The other sidecars.

    Args:
        forget_s: one whose latest message is older is gone.

    Attributes:
        peers: by id.
    """

    def __init__(self, forget_s: float) -> None:
        self.peers: dict[str, Peer] = {}
        self._forget_s = forget_s

    def take(self, reports: Iterable[Report], ahead_s: float, now: float) -> None:
        """Messages were read.

        Args:
            reports: these.
            ahead_s: by which the server's clock is ahead of ours.
            now: monotonic seconds.
        """
        for report in reports:
            made_at = min(report.server - ahead_s, now) if report.server else now  # it does not know yet
            if now - made_at > self._forget_s:
                continue  # it stayed behind, or the server's clock has jumped, which will be known soon
            peer = self.peers.get(report.sidecar)
            if peer is None:
                self.peers[report.sidecar] = Peer(report, made_at, now)
            else:
                peer.take(report, made_at, now)

    def forget(self, now: float) -> bool:
        """Drops whose latest message is too old; whether there was any."""
        gone = [by for by, peer in self.peers.items() if now - peer.counted_at > self._forget_s]
        for by in gone:
            del self.peers[by]
        return bool(gone)

    def grown(self) -> dict[str, tuple[float, float]]:
        """By name, the decisions and the tokens that all others made since this was last asked."""
        grown: dict[str, tuple[float, float]] = {}
        for peer in self.peers.values():
            for name, (started, tokens) in peer.growth.items():
                before = grown.get(name, (0.0, 0.0))
                grown[name] = (before[0] + started, before[1] + tokens)
            peer.growth.clear()
        return grown

    def sums(self, own: Own, census: Census, now: float) -> Sums:
        """What all others have.

        Args:
            own: this sidecar.
            census: remembers what it had before.
            now: monotonic seconds.
        """
        amount = len(own.names)
        in_flight, tokens, likewise, own_then, cool_until = np.zeros((5, amount))
        oldest = now
        for peer in self.peers.values():
            oldest = min(oldest, peer.counted_at)
            when = census.then(peer.counted_at)
            then = np.zeros(amount)
            then[: len(when.in_flight)] = when.in_flight
            alike = min(MOST_ALIKE, (peer.rate.recent + 1.0) / (when.recent + 1.0))
            for at, name in enumerate(own.names):
                row = peer.report.rows.get(name)
                if row is None:
                    continue  # it has another bundle
                in_flight[at] += row.in_flight
                tokens[at] += row.tokens_in_flight
                cool_until[at] = max(cool_until[at], peer.cool_until(name))
                if not name.startswith(PREFIX):
                    likewise[at] += alike
                    own_then[at] += alike * then[at]
        np.divide(own_then, likewise, out=own_then, where=likewise > 0.0)
        return Sums(in_flight, tokens, likewise, own_then, cool_until, now - oldest)
