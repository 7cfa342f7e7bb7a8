"""What other sidecars' breakers mean to this one.

Among the processes of one sidecar the latest change is in force, whoever made it. Among sidecars that would be wrong:
where only one of them cannot reach a candidate, its failed probes would take the candidate away from all again and again,
and their successes would send that one back into the fire. So a finding of another sidecar is a hint:

- It opens the breaker here for as long as it does there, unless this sidecar has found out something itself since the
  other one's trouble began: its own probe then decides, and what it finds holds until the other one has closed and opens anew.
- It closes here what only a hint of the same sidecar had opened. What this sidecar's own calls opened, only its own
  probes close.
- A hint outlives who gave it: it ends by a probe as any open breaker does.
"""

from collections.abc import Mapping
from typing import NamedTuple

from sidecar.fleet.breaker import Change
from sidecar.fleet.columns import CLOSED, OPEN
from sidecar.fleet.peers.peer import Peer


class _Given(NamedTuple):
    by: str
    change: Change


class Hints:
    """Remembers which hints are followed.

    Args:
        most_s: no candidate is left alone for longer.
    """

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._given: dict[str, _Given] = {}

    def judge(self, name: str, own: Change, peers: Mapping[str, Peer], now: float) -> Change | None:
        """The change to take over; None: it stays as it is.

        Args:
            name: of the candidate.
            own: the latest change that this sidecar made itself.
            peers: by id.
            now: monotonic seconds.
        """
        if own.kind == OPEN:
            return None
        given = self._given.get(name)
        best = self._best(name, own, peers, now)
        if best is None and given is not None and given.change.kind == OPEN and given.change.at > own.at:
            peer = peers.get(given.by)
            if peer is not None and peer.change(name).kind == CLOSED:
                best = _Given(given.by, peer.change(name))
        if best is None or (given is not None and best.change.at <= given.change.at):
            return None
        self._given[name] = best
        return best.change

    def _best(self, name: str, own: Change, peers: Mapping[str, Peer], now: float) -> _Given | None:
        """The latest opening that counts here."""
        best: _Given | None = None
        for by, peer in peers.items():
            change = peer.change(name)
            if change.kind != OPEN or peer.open_since(name) <= own.at or change.until <= now:
                continue
            if best is None or change.at > best.change.at:
                best = _Given(by, change._replace(until=min(change.until, now + self._most_s)))
        return best
