"""How long records are kept."""

from sidecar.ledger.rows import first_id
from sidecar.ledger.settings import LedgerConfig
from sidecar.ledger.store import Store

DAY_S = 86400.0
# Between two looks at what is too old, and at the size.
LOOK_S = 60.0
# Rows of one transaction: others wait for it.
CHUNK = 4096
# Cut back by so much, or every look would find it too large again.
SLACK = 0.95


class Retention:
    """Deletes what is too old, then the oldest while there is too much.

    Args:
        config: says how much is to be kept.
    """

    def __init__(self, config: LedgerConfig) -> None:
        self._keep_s = config.keep_days * DAY_S
        self._keep_bytes = config.keep_bytes
        self._next = float("-inf")
        self._above = self._keep_bytes

    def step(self, store: Store, now: float) -> bool:
        """Deletes some thousand rows, if it is time to.

        Args:
            store: migrated.
            now: Unix seconds.

        Returns:
            Whether there is more to delete at once.

        Raises:
            StoreAway: the store does not answer.
        """
        if now < self._next:
            return False
        if self._keep_s and store.expire(first_id(now - self._keep_s), CHUNK):
            return True
        if self._keep_bytes and store.used_bytes() > self._above:
            self._above = int(self._keep_bytes * SLACK)
            if store.cut(CHUNK):
                return True
        self._above = self._keep_bytes
        store.reclaim()
        self._next = now + LOOK_S
        return False

    def prune(self, store: Store, now: float) -> None:
        """Deletes all that is not to be kept, at once."""
        self._next = float("-inf")
        while self.step(store, now):
            pass
