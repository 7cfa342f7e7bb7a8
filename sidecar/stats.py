"""What workers tell of what they served, and how it adds up."""

import msgspec

from sidecar.coverage import Covered

Numbers = tuple[int, ...]


class Stats(msgspec.Struct, frozen=True):
    """Counts of one worker or of several.

    Attributes:
        versions: since the start, by version of the bundle: decisions, degraded ones among them, runs of the model.
        invalid: requests refused as invalid, since the start.
        shed: requests turned away for overload, since the start.
        expired: requests whose deadline passed while they waited, since the start.
        cancelled: requests whose caller hung up while they waited, since the start.
        window: requests within the coverage window, by segment: scored, not scored.
        providers: workers whose bundle runs on it now, by execution provider.
        device_faults: how often a device failed, since the running bundle was loaded.
    """

    versions: dict[str, Numbers] = {}
    invalid: int = 0
    shed: int = 0
    expired: int = 0
    cancelled: int = 0
    window: dict[str, Numbers] = {}
    providers: dict[str, Numbers] = {}
    device_faults: int = 0

    def __add__(self, other: object) -> "Stats":
        if not isinstance(other, Stats):
            return NotImplemented
        return Stats(
            _sum(self.versions, other.versions),
            self.invalid + other.invalid,
            self.shed + other.shed,
            self.expired + other.expired,
            self.cancelled + other.cancelled,
            _sum(self.window, other.window),
            _sum(self.providers, other.providers),
            self.device_faults + other.device_faults,
        )

    def covered(self) -> dict[str, Covered]:
        """The coverage window, by segment."""
        return {segment: Covered(*counts) for segment, counts in self.window.items()}


def _sum(some: dict[str, Numbers], more: dict[str, Numbers]) -> dict[str, Numbers]:
    total = dict(some)
    for name, counts in more.items():
        before = total.get(name)
        total[name] = tuple(map(sum, zip(before, counts, strict=True))) if before else counts
    return total
