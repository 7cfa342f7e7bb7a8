import logging
from collections.abc import Sequence

import pytest
from msgspec import structs

from sidecar.control.incidents import CALM_S, SILENT_CALLS, Incidents
from sidecar.control.standing import Load
from sidecar.fleet.allowances import Allowance
from sidecar.fleet.figures import CandidateFigures
from sidecar.fleet.settings import BudgetConfig

BUDGET = BudgetConfig(name="trial users", usd_per_day=20.0)


def row(name: str, state: str = "closed", recovery_s: float = 0.0, **counts: float) -> CandidateFigures:
    unknown = dict.fromkeys(CandidateFigures._fields, 0.0)
    return CandidateFigures(**{**unknown, **counts, "name": name, "state": state, "recovery_seconds": recovery_s})  # type: ignore[arg-type]


class Watch:
    """Looks twice a second, as the control process does."""

    def __init__(self, caplog: pytest.LogCaptureFixture, offered: Sequence[str] = ()) -> None:
        caplog.set_level(logging.INFO, "sidecar.control.incidents")
        self._caplog = caplog
        self._incidents = Incidents(offered)
        self.now = 100.0

    def see(self, *rows: CandidateFigures, budgets: Sequence[Allowance] = (), seconds: float = 0.5) -> list[str]:
        """What is logged while it stays so."""
        self._caplog.clear()
        until = self.now + seconds
        while self.now < until:
            self.now += 0.5
            self._incidents.take(Load(rows, budgets), self.now)
        return [f"{record.levelname} {record.getMessage()}" for record in self._caplog.records]


def test_a_failure_is_told_when_it_begins_and_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch(caplog)
    assert watch.see(row("a"), row("b"), seconds=30.0) == []
    assert watch.see(row("a", "open", 2.5), row("b")) == [
        "WARNING fleet: a fails and is left alone; it is tried again in 2.5 s"
    ]
    assert watch.see(row("a", "open", 1.0), row("b"), seconds=20.0) == []
    assert watch.see(row("a", "half_open"), row("b"), seconds=2.0) == []
    assert watch.see(row("a", "slow_start"), row("b"), seconds=CALM_S - 0.5) == []
    assert watch.see(row("a"), row("b")) == ["INFO fleet: a works again after 22 s, in which it was left alone 1 times"]
    assert watch.see(row("a"), row("b"), seconds=30.0) == []


def test_what_comes_and_goes_is_one_incident(caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch(caplog)
    told = [
        line
        for _ in range(50)
        for line in (*watch.see(row("a", "cooling", 1.0), row("b")), *watch.see(row("a"), row("b"), seconds=2.0))
    ]
    (begun,) = told
    assert begun.startswith("WARNING fleet: a takes no more for now")
    assert watch.see(row("a"), row("b"), seconds=CALM_S) == [
        "INFO fleet: a is without a pause again after 122 s, in which there were 50"
    ]
    assert watch.see(row("a", "cooling", 1.0), row("b"))[0].endswith("it may be chosen again in 1.0 s")


def test_that_no_candidate_is_well_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch(caplog, offered=["a", "b"])
    well = row("not offered")
    assert len(watch.see(row("a", "open"), row("b"), well)) == 1
    assert watch.see(row("a", "half_open"), row("b", "cooling"), well)[-1] == (
        "ERROR fleet: no candidate is well; requests go to a last resort (reason LAST_RESORT)"
    )
    assert watch.see(row("a", "open"), row("b", "open"), well, seconds=5.0)[1:] == []
    told = watch.see(row("a", "open"), row("b"), well, seconds=CALM_S)
    assert told[-1] == "WARNING fleet: a candidate is well again, after 5 s without any"
    assert "INFO fleet: b works again after 4 s, in which it was left alone 1 times" in told


def test_candidates_that_are_not_offered_are_nobodys_business(caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch(caplog, offered=["a"])
    assert watch.see(row("a"), row("b", "open"), seconds=5.0) == []


def test_a_budget_that_is_used_up_is_told(caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch(caplog)
    assert watch.see(budgets=[Allowance(BUDGET, 5.0, 1.0, 19.0, 0.0)]) == []
    assert watch.see(budgets=[Allowance(BUDGET, 6.0, 2.0, 20.0, 3600.0)], seconds=60.0) == [
        "WARNING budget 'trial users' is used up; it allows another request in 3600 s"
    ]
    assert watch.see(budgets=[Allowance(BUDGET, 6.0, 2.0, 0.0, 0.0)], seconds=CALM_S) == [
        "INFO budget 'trial users' allows requests again after 60 s, used up 1 times"
    ]


def test_of_a_budget_that_refuses_it_is_told_that_it_does(caplog: pytest.LogCaptureFixture) -> None:
    refusing = structs.replace(BUDGET, when_used_up="refuse")
    assert Watch(caplog).see(budgets=[Allowance(refusing, 6.0, 2.0, 20.0, 3600.0)]) == [
        "WARNING budget 'trial users' is used up; it allows another request in 3600 s; until then what it leaves no candidate "
        "for is refused"
    ]


def test_that_nobody_reports_outcomes_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch(caplog)
    half = SILENT_CALLS / 2
    assert watch.see(row("a", expired=half), row("b", expired=half - 1.0)) == []
    (line,) = watch.see(row("a", expired=half), row("b", expired=half), seconds=5.0)
    assert line.startswith("WARNING fleet: of 20 calls no outcome was heard")
    assert watch.see(row("a", expired=100.0)) == []


def test_where_some_outcomes_are_heard_nothing_is_said_of_the_others(caplog: pytest.LogCaptureFixture) -> None:
    assert Watch(caplog).see(row("a", expired=1000.0), row("b", outcomes=1.0)) == []
