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
# Of the rows, that goes in one round: what is left of the excess after a round may be hard to hit.
LEAST_SHARE = 0.01


class Retention:
    """Deletes what is too old, then the oldest while there is too much.

    Args:
        config: says how much is to be kept.
    """

    def __init__(self, config: LedgerConfig) -> None:
        self._keep_s = config.keep_days * DAY_S
        self._keep_bytes = config.keep_bytes
        self._looked = float("-inf")
        # What lies before is too much; empty while nothing is.
        self._border = b""
        self._above = self._keep_bytes

    def step(self, store: Store, now: float) -> bool:
        """Deletes some thousand rows, or gives back some space, if it is time to.

        Args:
            store: migrated.
            now: Unix seconds.

        Returns:
            Whether there is more to do at once.

        Raises:
            StoreAway: the store does not answer.
        """
        if 0.0 <= now - self._looked < LOOK_S:  # below 0: somebody set the clock back
            return False
        if self._keep_s and store.expire(first_id(now - self._keep_s), CHUNK):
            return True
        if self._border and store.expire(self._border, CHUNK):
            return True
        self._border = self._excess(store) if self._keep_bytes else b""
        if self._border and store.expire(self._border, CHUNK):
            return True
        self._border, self._above = b"", self._keep_bytes
        if store.reclaim():
            return True
        self._looked = now
        return False

    def prune(self, store: Store, now: float) -> None:
        """Deletes all that is not to be kept, and gives its space back, at once."""
        self._looked = float("-inf")
        while self.step(store, now):
            pass

    def _excess(self, store: Store) -> bytes:
        """The border of what is too much; a share of the rows, since asking how much is left after each bite is dear."""
        used = store.used_bytes()
        if used <= self._above:
            return b""
        self._above = int(self._keep_bytes * SLACK)
        return store.border(max(LEAST_SHARE, 1.0 - self._above / used))
