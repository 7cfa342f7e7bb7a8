"""Outcomes of decisions that are not in the store: of another sidecar, of long ago, or made up."""

from collections import deque
from collections.abc import Sequence

from sidecar.ledger.store import Store

# Decisions are written behind, and imported after the outcomes: only after so long is a missing one taken to be unknown.
PATIENCE_S = 60.0
# Outcomes that are remembered until then; of more, the oldest are not looked at.
MOST = 1 << 18


class Strays:
    """Counts them, a minute after they were imported.

    Attributes:
        unknown: outcomes whose decision was not there.
    """

    def __init__(self) -> None:
        self.unknown = 0
        self._waiting: deque[tuple[float, bytes]] = deque(maxlen=MOST)

    def take(self, decision_ids: Sequence[bytes], now: float) -> None:
        """Outcomes were imported.

        Args:
            decision_ids: of each of them.
            now: seconds.
        """
        self._waiting.extend((now + PATIENCE_S, decision_id) for decision_id in decision_ids)

    def step(self, store: Store, now: float, limit: int) -> None:
        """Looks at those that are due, at most `limit`.

        Raises:
            StoreAway: the store does not answer; they are looked at the next time.
        """
        due: list[bytes] = []
        for at, decision_id in self._waiting:
            if at > now or len(due) == limit:
                break
            due.append(decision_id)
        if due:
            known = store.known(sorted(set(due)))
            for decision_id in due:
                self._waiting.popleft()
                self.unknown += decision_id not in known
