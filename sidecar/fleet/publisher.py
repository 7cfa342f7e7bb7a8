"""Puts into the table what candidates' servers and providers say of themselves."""

import math
from collections.abc import Callable

from sidecar.fleet.columns import (
    COLUMNS,
    COOL_UNTIL,
    ERRORS_RATE,
    FIRST_TOKEN,
    IN_FLIGHT,
    IN_FLIGHT_THEN,
    KV_USED,
    LEFT_REQUESTS,
    LEFT_TOKENS,
    LIMITS_AT,
    LOAD_AT,
    MAX_RUNNING,
    PER_TOKEN,
    RESET_AT,
    RUNNING,
    SLOTS_SEEN,
    STARTED,
    STARTED_THEN,
    TOKENS_RATE,
    TOKENS_STARTED,
    TOKENS_STARTED_THEN,
    WAITING,
)
from sidecar.fleet.reader import Reader
from sidecar.fleet.settings import FleetConfig
from sidecar.fleet.telemetry import Telemetry
from sidecar.fleet.writer import Writer

LOAD = (
    (RUNNING, "running"),
    (WAITING, "waiting"),
    (MAX_RUNNING, "max_running"),
    (KV_USED, "kv_used"),
    (FIRST_TOKEN, "first_token_seconds"),
    (PER_TOKEN, "seconds_per_token"),
    (TOKENS_RATE, "tokens_per_second"),
    (ERRORS_RATE, "errors_per_second"),
)
LIMITS = ((LEFT_REQUESTS, "rate_limit_remaining_requests"), (LEFT_TOKENS, "rate_limit_remaining_tokens"))
# A server that is short of memory runs fewer at a time than it could: the most that it can is forgotten this fast.
SLOTS_LEARNING = 0.3


class Publisher:
    """Publishes through a process's own section; not safe for use from several threads.

    Args:
        writer: of this process.
        settings: how long a cool-down may be, and when a process counts as dead.
        clock: monotonic seconds.
        unix: Unix seconds.
    """

    def __init__(
        self, writer: Writer, settings: FleetConfig, clock: Callable[[], float], unix: Callable[[], float]
    ) -> None:
        self._writer = writer
        self._dead_after_s = settings.dead_after_seconds
        self._most_cool_s = settings.breaker.max_cool_down_seconds
        self._clock = clock
        self._unix = unix
        self._readers: dict[str, Reader] = {}

    def publish(self, candidate: str, telemetry: Telemetry) -> None:
        """Lets all processes know. What is older than what this process published before is left out.

        Args:
            candidate: its model name, as in the table.
            telemetry: what was observed.

        Raises:
            ConfigError: the name is unusable, or there are too many.
        """
        now, unix = self._clock(), self._unix()
        age = unix - telemetry.observed_unix
        at = now - age if age > 0.0 else now  # nan, and a clock that is ahead of ours: now
        if at <= 0.0:
            return
        base = self._writer.row(candidate) * COLUMNS
        if at >= self._writer.cells[base + LOAD_AT] and not all(
            math.isnan(value) for value in (getattr(telemetry, name) for _, name in LOAD)
        ):
            self._load(candidate, base, telemetry, at, now)
        if at >= self._writer.cells[base + LIMITS_AT] and not all(
            math.isnan(value) for value in (getattr(telemetry, name) for _, name in LIMITS)
        ):
            self._limits(candidate, base, telemetry, at, now + telemetry.rate_limit_reset_unix - unix)
        wait_s = telemetry.retry_after_unix - unix
        if wait_s > 0.0:
            cells = self._writer.cells
            cells[base + COOL_UNTIL] = max(cells[base + COOL_UNTIL], now + min(wait_s, self._most_cool_s))
        self._writer.publish()

    def _load(self, candidate: str, base: int, telemetry: Telemetry, at: float, now: float) -> None:
        cells = self._writer.cells
        for column, name in LOAD:
            cells[base + column] = getattr(telemetry, name)
        cells[base + LOAD_AT] = at
        # What of it is ours: the rest is what others ask of the same servers.
        cells[base + IN_FLIGHT_THEN] = self._ours(candidate, now)[0]
        running, seen = telemetry.running, cells[base + SLOTS_SEEN]
        if running > seen and (telemetry.waiting > 0.0 or seen):
            cells[base + SLOTS_SEEN] = running
        elif telemetry.waiting > 0.0 and running > 0.0:
            cells[base + SLOTS_SEEN] += SLOTS_LEARNING * (running - seen)

    def _limits(self, candidate: str, base: int, telemetry: Telemetry, at: float, reset: float) -> None:
        cells = self._writer.cells
        for column, name in LIMITS:
            cells[base + column] = getattr(telemetry, name)
        cells[base + LIMITS_AT], cells[base + RESET_AT] = at, reset
        _, cells[base + STARTED_THEN], cells[base + TOKENS_STARTED_THEN] = self._ours(candidate, at)

    def _ours(self, candidate: str, now: float) -> tuple[float, float, float]:
        """Calls in flight, and calls and tokens since the beginning, of all processes together."""
        reader = self._readers.get(candidate)
        if reader is None:
            reader = self._readers[candidate] = Reader(self._writer.table, [candidate])
        block = reader.read()[:, 0]
        alive = now - self._writer.table.heartbeats[reader.writers] < self._dead_after_s
        return (
            float(block[alive, IN_FLIGHT].sum()),
            float(block[:, STARTED].sum()),
            float(block[:, TOKENS_STARTED].sum()),
        )
