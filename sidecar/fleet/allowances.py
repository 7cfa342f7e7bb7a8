"""Budgets as somebody sees them who spends nothing: what was used of each, and whether it is used up."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sidecar.fleet.budget import DAY_S, PREFIX, Bucket
from sidecar.fleet.columns import DAY, STARTED, TOKENS_STARTED, USD
from sidecar.fleet.reader import Reader
from sidecar.fleet.settings import BudgetConfig
from sidecar.fleet.table import FleetTable


class Allowance(NamedTuple):
    """One budget, of all workers together.

    Attributes:
        config: its limits.
        requests: since the start.
        tokens: expected in them.
        usd_today: expected cost of those since midnight UTC; 0 where the budget does not limit it.
        recovery_seconds: until it allows another request; 0: it does now.
    """

    config: BudgetConfig
    requests: float
    tokens: float
    usd_today: float
    recovery_seconds: float


class Allowances:
    """Follows the budgets in the fleet table, with buckets of its own; to be read more than once in `burst_seconds`.

    Args:
        table: the fleet's.
        configs: the budgets, as the workers'.
    """

    def __init__(self, table: FleetTable, configs: Sequence[BudgetConfig]) -> None:
        self._reader = Reader(table, [PREFIX + config.name for config in configs])
        self._buckets = [Bucket(config, row) for row, config in enumerate(configs)]

    def read(self, now: float, unix: float) -> list[Allowance]:
        """All budgets, in the order of the configuration.

        Args:
            now: monotonic seconds.
            unix: Unix seconds.
        """
        block = self._reader.read()
        used = block[:, :, (STARTED, TOKENS_STARTED)].sum(axis=0)
        today = np.where(block[:, :, DAY] == unix // DAY_S, block[:, :, USD], 0.0).sum(axis=0)
        found = []
        for bucket in self._buckets:
            bucket.refresh(block[:, bucket.row], now, unix)
            requests, tokens = used[bucket.row].tolist()
            found.append(Allowance(bucket.config, requests, tokens, float(today[bucket.row]), bucket.wait_s))
        return found
