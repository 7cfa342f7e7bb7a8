"""Budgets: what some segments may ask of some candidates in requests, tokens and money.

Requests and tokens are token buckets: they fill at the configured rate, up to what comes in `burst_seconds`. Each process
counts its own use in its section of the fleet table, where other sidecars are one more writer, and takes everybody's off its own copy of the bucket at each merge.
A bucket may so be overdrawn by what is decided between two merges; that is paid back before anything more passes.
Money is counted by days of UTC.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sidecar.fleet.closed import Closed, Refusal
from sidecar.fleet.columns import COLUMNS, DAY, STARTED, TOKENS_STARTED, USD
from sidecar.fleet.live import LiveFleet
from sidecar.fleet.settings import BudgetConfig

DAY_S = 86400.0
MINUTE_S = 60.0
# A row of the fleet table whose name begins so is a budget's; no model is called like this.
PREFIX = "\x01budget/"


class Use(NamedTuple):
    """What is used of one of a budget's limits.

    Attributes:
        unit: `requests`, `tokens` or `usd`.
        used: of what may be used at once; more than that where it is overdrawn.
        limit: what may be used at once.
        window_seconds: the time in which the limit fills up again; a day of UTC for money.
    """

    unit: str
    used: float
    limit: float
    window_seconds: float


class Bucket:
    """One budget.

    Args:
        config: its limits.
        row: in this worker's section.

    Attributes:
        wait_s: until it allows another request; 0: it does now.
    """

    def __init__(self, config: BudgetConfig, row: int) -> None:
        self.config = config
        self.row = row
        self.wait_s = 0.0
        self._rates = [(limit or np.inf) / MINUTE_S for limit in (config.requests_per_minute, config.tokens_per_minute)]
        self._levels = [rate * config.burst_seconds for rate in self._rates]
        self._used: list[float] = []
        self._at = 0.0
        self._spent_usd = 0.0

    def refresh(self, rows: NDArray[np.float64], now: float, unix: float) -> None:
        """Takes off what was used since the last time.

        Args:
            rows: [W, COLUMNS] all processes' rows of this budget.
            now: monotonic seconds.
            unix: Unix seconds.
        """
        used: list[float] = rows[:, (STARTED, TOKENS_STARTED)].sum(axis=0).tolist()
        passed = max(0.0, now - self._at) if self._used else 0.0
        before = self._used or used
        wait_s = 0.0
        for kind, rate in enumerate(self._rates):
            if rate == np.inf:
                continue
            level = min(rate * self.config.burst_seconds, self._levels[kind] + rate * passed)
            self._levels[kind] = level = level - max(0.0, used[kind] - before[kind])
            if level < 1.0:
                wait_s = max(wait_s, (1.0 - level) / rate)
        self._used, self._at = used, now
        if self.config.usd_per_day is not None:
            day = unix // DAY_S
            self._spent_usd = float(rows[rows[:, DAY] == day, USD].sum())
            if self._spent_usd >= self.config.usd_per_day:
                wait_s = max(wait_s, (day + 1.0) * DAY_S - unix)
        self.wait_s = wait_s

    def uses(self) -> list[Use]:
        """What was used as of the last time, by limit. From any thread."""
        config, burst_s = self.config, self.config.burst_seconds
        found = [
            Use(unit, rate * burst_s - level, rate * burst_s, burst_s)
            for unit, rate, level in zip(("requests", "tokens"), self._rates, self._levels, strict=True)
            if rate < np.inf
        ]
        return [*found, Use("usd", self._spent_usd, config.usd_per_day, DAY_S)] if config.usd_per_day else found


class Budgets:
    """A worker's part in all budgets; belongs to the transport's thread.

    Args:
        live: the worker's fleet.
        configs: checked.
        unix: Unix seconds.
        now: monotonic seconds.

    Attributes:
        live: as given.
        buckets: in the order of the configuration.
        version: of the fleet, as of the last refresh.
        refreshed_unix: Unix seconds of it.

    Raises:
        ConfigError: a name is too long, or there are too many.
    """

    def __init__(self, live: LiveFleet, configs: Sequence[BudgetConfig], unix: Callable[[], float], now: float) -> None:
        rows = live.enter([PREFIX + config.name for config in configs], now).tolist()
        self.live = live
        self.buckets = tuple(Bucket(config, row) for config, row in zip(configs, rows, strict=True))
        self.version = -1
        self.refreshed_unix = 0.0
        self._unix = unix
        self.refresh(now)  # what is used from here on counts

    def refresh(self, now: float) -> None:
        """To be called after LiveFleet.refresh; does nothing unless that merged."""
        if self.version == self.live.version:
            return
        self.version = self.live.version
        self.refreshed_unix = unix = self._unix()
        for bucket in self.buckets:
            bucket.refresh(self.live.block[:, bucket.row], now, unix)

    def use(self, buckets: Sequence[Bucket], tokens: float, usd: float) -> None:
        """Something was decided that these budgets cover."""
        cells = self.live.writer.cells
        for bucket in buckets:
            base = bucket.row * COLUMNS
            cells[base + STARTED] += 1.0
            cells[base + TOKENS_STARTED] += tokens
            if bucket.config.usd_per_day is not None:
                day = self._unix() // DAY_S
                if cells[base + DAY] != day:
                    cells[base + DAY], cells[base + USD] = day, 0.0
                cells[base + USD] += usd


class BudgetView:
    """The budgets in the order of one bundle's candidates.

    Args:
        budgets: the worker's.
        names: [C] of the candidates, as budgets name them.
    """

    def __init__(self, budgets: Budgets, names: Sequence[str]) -> None:
        self._budgets = budgets
        self._names = names
        named = {segment for bucket in budgets.buckets for segment in bucket.config.segments}
        self._covers = {segment: self._cover(segment) for segment in named}
        self._others = self._cover(None)
        self._closed: dict[int, Closed | None] = {}
        self._version = -1

    def closed(self, segment: str, now: float) -> Closed | None:
        """What is used up for a segment; None if nothing is."""
        self._budgets.refresh(now)
        if self._version != self._budgets.version:
            self._version = self._budgets.version
            self._closed.clear()
        cover = self._covers.get(segment, self._others)
        key = id(cover)
        if key not in self._closed:
            self._closed[key] = self._close(cover)
        return self._closed[key]

    def decided(self, segment: str, candidate: int, tokens: float, usd: float) -> None:
        """A decision was made.

        Args:
            segment: of the request.
            candidate: output index of the chosen one.
            tokens: expected of prompt and answer.
            usd: the call's expected cost.
        """
        buckets = self._covers.get(segment, self._others)[candidate]
        if buckets:
            self._budgets.use(buckets, tokens, usd)

    def _cover(self, segment: str | None) -> list[tuple[Bucket, ...]]:
        """[C] the budgets that cover each candidate for a segment; None: one that no budget names."""
        ours = [
            bucket
            for bucket in self._budgets.buckets
            if not bucket.config.segments or segment in bucket.config.segments
        ]
        return [
            tuple(bucket for bucket in ours if not bucket.config.candidates or name in bucket.config.candidates)
            for name in self._names
        ]

    def _close(self, cover: list[tuple[Bucket, ...]]) -> Closed | None:
        waits = [max((bucket.wait_s for bucket in buckets), default=0.0) for buckets in cover]
        if not any(waits):
            return None
        recovery = np.array(waits)
        used_up = {bucket.config.name for buckets in cover for bucket in buckets if bucket.wait_s}
        refusals = tuple(map(self._refusal, cover))
        refused = np.array([refusal is not None for refusal in refusals])
        return Closed(recovery > 0.0, recovery, refused, refusals, tuple(sorted(used_up)))

    def _refusal(self, buckets: tuple[Bucket, ...]) -> Refusal | None:
        refusing = [bucket for bucket in buckets if bucket.wait_s and bucket.config.when_used_up == "refuse"]
        if not refusing:
            return None
        last = max(refusing, key=lambda bucket: bucket.wait_s)
        return Refusal(last.config.name, last.wait_s, self._budgets.refreshed_unix + last.wait_s)
