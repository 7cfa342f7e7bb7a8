"""The fleet as the control process sees it: candidates and budgets, from the shared table."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sidecar.config import Config
from sidecar.control.rising import Rising
from sidecar.control.standing import Load
from sidecar.fleet.allowances import Allowances
from sidecar.fleet.figures import Figures
from sidecar.fleet.regions import FLEET
from sidecar.fleet.table import FleetTable
from sidecar.sensing import configured

COUNTERS: Mapping[str, str] = {
    "decisions": "Decisions that lead to a call of it.",
    "tokens": "Tokens expected in these, of prompt and answer.",
    "outcomes": "Calls of it that an outcome was heard of.",
    "faults": "Of these, failed ones.",
    "expired": "Calls of it that no outcome was heard of in time.",
    "suspicions": "Times that it was left alone since its calls hung.",
}


class FleetWatch:
    """Reads the table now and then. Belongs to one thread.

    Args:
        config: as the workers'.
        runtime: where the table is.
        clock: monotonic seconds.
        unix: Unix seconds.

    Raises:
        ConfigError: it is not there.
    """

    def __init__(
        self,
        config: Config,
        runtime: Path,
        clock: Callable[[], float] = time.monotonic,
        unix: Callable[[], float] = time.time,
    ) -> None:
        table = FleetTable.attach(runtime / FLEET)
        self._clock, self._unix = clock, unix
        self._figures = Figures(table, config.fleet, configured(config))
        self._allowances = Allowances(table, config.budgets) if config.budgets else None
        self._names = {entry.model or entry.name: entry.name for entry in config.candidates}
        self._rising = Rising()

    def look(self) -> Load:
        """The fleet now; costs a fraction of a millisecond."""
        now, rising = self._clock(), self._rising
        candidates = []
        for row in self._figures.read(now):
            totals: dict[str, Any] = {field: rising((row.name, field), getattr(row, field)) for field in COUNTERS}
            candidates.append(row._replace(name=self._names.get(row.name, row.name), **totals))
        found = self._allowances.read(now, self._unix()) if self._allowances else []
        budgets = [
            row._replace(
                requests=rising(("budget", row.config.name, "requests"), row.requests),
                tokens=rising(("budget", row.config.name, "tokens"), row.tokens),
            )
            for row in found
        ]
        return Load(candidates, budgets)
