"""One observation out of several sources of the same candidate."""

from collections.abc import Callable
from math import isnan

from sidecar.fleet.telemetry import Telemetry

Take = Callable[[Telemetry], None]


class Merge:
    """Joins what the sources of one candidate observe, so that none wipes out what only another one knows.

    Args:
        take: takes the joint observation whenever a source has a new one.
        keep_s: what a source said counts for so many seconds beside what another one says now.
    """

    def __init__(self, take: Take, keep_s: float) -> None:
        self._take = take
        self._keep_s = keep_s
        self._latest: dict[str, Telemetry] = {}

    def of(self, source: str) -> Take:
        """Takes the observations of one source."""

        def take(observed: Telemetry) -> None:
            self._latest[source] = observed
            self._take(self._joined(observed.observed_unix))

        return take

    def _joined(self, now: float) -> Telemetry:
        """For each figure the newest source that knows it."""
        recent = sorted(
            (one for one in self._latest.values() if one.observed_unix >= now - self._keep_s),
            key=lambda one: one.observed_unix,
            reverse=True,
        )
        columns = zip(*recent, strict=True)
        return Telemetry(*(next((value for value in column if not isnan(value)), column[0]) for column in columns))
