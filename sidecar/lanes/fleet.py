"""FleetService at the edge: load reports come in, the live state of the candidates goes out."""

import threading
import time
from collections.abc import Callable, Sequence
from math import ceil, isfinite
from typing import Any, Protocol

from sidecar.config import Config
from sidecar.errors import InvalidRequest
from sidecar.fleet.budget import Use
from sidecar.fleet.figures import CandidateFigures
from sidecar.fleet.figures import Figures as TableFigures
from sidecar.fleet.settings import BudgetConfig
from sidecar.fleet.sources.engines import Engine, engines
from sidecar.fleet.sources.load_report import check_report, telemetry_of, understood
from sidecar.fleet.telemetry import Telemetry
from sidecar.lanes.lane import Cold
from sidecar.lanes.malformed import parsed
from sidecar.routing.candidates import CandidateTable
from sidecar.sensing import Sensing, configured
from sidecar.wire import fleet_pb2 as pb

SERVICE = "router.v1.FleetService"
BudgetUse = tuple[BudgetConfig, float, Sequence[Use]]
FIGURES = frozenset(field.name for field in pb.CandidateLoad.DESCRIPTOR.fields) - {"candidate", "state"}


class Figures(Protocol):
    """One candidate's figures: a named tuple with `name`, `state`, and the fields of CandidateLoad; nan is unknown."""

    def _asdict(self) -> dict[str, Any]: ...


class FleetMethods:
    """The methods of FleetService.

    Args:
        engine: what the keys of load reports mean (`fleet.engines.orca`).
        known: gives the name of the candidate that a name or alias means; raises InvalidRequest if there is none.
        publish: takes a candidate's name and what was observed of it. From any thread.
        rows: the live state of all candidates. From any thread.
        budgets: seconds until each budget opens, and what is used of it. From any thread.
        unix: Unix seconds.

    Attributes:
        cold: methods of one reply.
    """

    def __init__(
        self,
        engine: Engine,
        known: Callable[[str], str],
        publish: Callable[[str, Telemetry], None],
        rows: Callable[[], Sequence[Figures]],
        budgets: Callable[[], Sequence[BudgetUse]] = tuple,
        *,
        unix: Callable[[], float] = time.time,
    ) -> None:
        self._engine = engine
        self._known = known
        self._publish = publish
        self._rows = rows
        self._budgets = budgets
        self._unix = unix
        self.cold: dict[str, Cold] = {
            f"/{SERVICE}/ReportLoad": self._report_load,
            f"/{SERVICE}/Fleet": self._fleet,
        }

    def _report_load(self, raw: bytes) -> bytes:
        request = parsed(pb.ReportLoadRequest, raw)
        if not request.candidate:
            raise InvalidRequest("candidate: is empty; name the candidate whose load this is.")
        if not request.HasField("report"):
            raise InvalidRequest("report: is missing; give the load report.")
        candidate = self._known(request.candidate)
        check_report(request.report, "report")
        observed = telemetry_of(request.report, self._engine, self._unix())
        names = understood(observed)
        if names:
            self._publish(candidate, observed)
        return pb.ReportLoadResponse(understood=names).SerializeToString()

    def _fleet(self, raw: bytes) -> bytes:
        parsed(pb.FleetRequest, raw)
        unix = self._unix()
        response = pb.FleetResponse(
            candidates=[_load(row) for row in self._rows()],
            budgets=[_budget(*budget, unix) for budget in self._budgets()],
        )
        response.time.FromNanoseconds(round(unix * 1e9))
        return response.SerializeToString()


def _load(row: Figures) -> pb.CandidateLoad:
    told = row._asdict()
    figures = {name: value for name, value in told.items() if name in FIGURES and isfinite(value)}
    return pb.CandidateLoad(candidate=told["name"], state=f"CANDIDATE_STATE_{told['state'].upper()}", **figures)


def _budget(config: BudgetConfig, wait_s: float, uses: Sequence[Use], unix: float) -> pb.BudgetLoad:
    told = pb.BudgetLoad(
        budget=config.name,
        candidates=config.candidates,
        segments=config.segments,
        exhausted=wait_s > 0.0,
        refuses=config.when_used_up == "refuse",
        limits=[
            pb.BudgetLimit(
                unit=f"BUDGET_UNIT_{use.unit.upper()}",
                used=use.used,
                limit=use.limit,
                window_seconds=use.window_seconds,
            )
            for use in uses
        ],
    )
    if wait_s:
        told.recovery_seconds = wait_s
        told.opens.FromSeconds(ceil(unix + wait_s))
    return told


def fleet_methods(config: Config, sensing: Sensing, table: Callable[[], CandidateTable]) -> FleetMethods:
    """The methods over a worker's senses.

    Args:
        config: what the keys of load reports mean.
        sensing: takes the reports, and knows the fleet.
        table: the candidates of the bundle that runs at present.
    """
    figures = TableFigures(sensing.table, config.fleet, configured(config))
    reading = threading.Lock()

    def known(name: str) -> str:
        names = table()
        return names.rows[names.index(name, "candidate")].model

    def rows() -> Sequence[CandidateFigures]:
        with reading:  # several threads serve rare methods
            return figures.read(time.monotonic())

    return FleetMethods(engines(config.fleet.engines)["orca"], known, sensing.report, rows, sensing.uses)
