"""What workers tell of what they served, and how it adds up."""

from typing import Any

import msgspec

from sidecar.coverage import Covered

Numbers = tuple[int, ...]


class Stats(msgspec.Struct, frozen=True):
    """Counts of one worker or of several.

    Attributes:
        versions: since the start, by version of the bundle: decisions, degraded ones among them, runs of the model.
        invalid: requests refused as invalid, since the start.
        shed: requests turned away for overload, since the start.
        over_budget: requests refused since their budgets are used up, since the start.
        expired: requests whose deadline passed while they waited, since the start.
        cancelled: requests whose caller hung up while they waited, since the start.
        cache_hits: requests that the score cache knew the scores of, since the start.
        cache_misses: requests that it did not know, since the start.
        cache_evictions: entries that had to make room in it, since the start.
        cache_bytes: of its entries now.
        window: requests within the coverage window, by segment: scored, not scored.
        providers: workers whose bundle runs on it now, by execution provider.
        device_faults: how often a device failed, since the running bundle was loaded.
        reasons: decisions since the start, by reason; a decision may have several.
        log_only: decisions that were only recorded, since the start.
        disagreements: of these, the caller's own model was not the one that was chosen.
        switches: turns of sessions that went to another candidate than the turn before, since the start.
        forced_stays: turns that stayed since their session may not spend more on changes, since the start.
        outcomes_accepted: reports of outcomes that were sound, since the start.
        outcomes_invalid: that were refused for what they said, since the start.
        connections: open ones now.
        closed: connections that were closed for a fault of theirs, since the start, by reason.
        ledger_decisions: that the journal holds, since the start.
        ledger_dropped: decisions that it does not, since the start, by reason.
        ledger_acknowledged: outcomes that it holds, since the start.
        ledger_refused: outcomes that it could not take, since the start.
        ledger_syncs: groups of outcomes that were made durable, since the start.
        ledger_waiting: outcomes that wait for that now.
    """

    versions: dict[str, Numbers] = {}
    invalid: int = 0
    shed: int = 0
    over_budget: int = 0
    expired: int = 0
    cancelled: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    cache_evictions: int = 0
    cache_bytes: int = 0
    window: dict[str, Numbers] = {}
    providers: dict[str, Numbers] = {}
    device_faults: int = 0
    reasons: dict[str, Numbers] = {}
    log_only: int = 0
    disagreements: int = 0
    switches: int = 0
    forced_stays: int = 0
    outcomes_accepted: int = 0
    outcomes_invalid: int = 0
    connections: int = 0
    closed: dict[str, Numbers] = {}
    ledger_decisions: int = 0
    ledger_dropped: dict[str, Numbers] = {}
    ledger_acknowledged: int = 0
    ledger_refused: int = 0
    ledger_syncs: int = 0
    ledger_waiting: int = 0

    def __add__(self, other: object) -> "Stats":
        if not isinstance(other, Stats):
            return NotImplemented
        counts: dict[str, Any] = {name: getattr(self, name) + getattr(other, name) for name in _COUNTS}
        tables: dict[str, Any] = {name: _sum(getattr(self, name), getattr(other, name)) for name in _TABLES}
        return Stats(**tables, **counts)

    @property
    def past(self) -> "Stats":
        """What stays of it when the worker has ended."""
        return msgspec.structs.replace(
            self, cache_bytes=0, window={}, providers={}, device_faults=0, connections=0, ledger_waiting=0
        )

    def covered(self) -> dict[str, Covered]:
        """The coverage window, by segment."""
        return {segment: Covered(*counts) for segment, counts in self.window.items()}


_TABLES = ("versions", "window", "providers", "reasons", "closed", "ledger_dropped")
_COUNTS = tuple(name for name in Stats.__struct_fields__ if name not in _TABLES)


def _sum(some: dict[str, Numbers], more: dict[str, Numbers]) -> dict[str, Numbers]:
    total = dict(some)
    for name, counts in more.items():
        before = total.get(name)
        total[name] = tuple(map(sum, zip(before, counts, strict=True))) if before else counts
    return total
