"""One candidate fails and comes back: how fast is it left alone, and how gently is it taken back?

Here virtual time is real time, since the targets are seconds of the sidecar as it is shipped; the fleet is larger instead,
so that half a second holds enough decisions to tell a share of one per cent.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from benchmarks.fleet import figures
from benchmarks.fleet.candidates import enlarged
from benchmarks.fleet.gateway import Gateway, Journey
from benchmarks.fleet.loop import closed_loop
from benchmarks.fleet.scene import Backstage, Blind, Scene, seeing, sees_load
from benchmarks.fleet.servers import Fault
from benchmarks.fleet.workload import workload
from benchmarks.report import Section
from benchmarks.samples import Row
from benchmarks.schedule import Seconds
from benchmarks.verdict import COLUMNS as VERDICT_COLUMNS
from benchmarks.verdict import at_most, verdict

DECISIONS_PER_S = 400.0
LOAD = 0.5  # of saturation: the others can take over what the failed candidate leaves
BIN_S, WINDOW_S, STEP_S = 0.5, 1.0, 0.1
LEAVE_S, RETURN_S = 2.0, 10.0
# A second costs a tenth of what it does elsewhere, so that it is the failure and not the load that moves shares.
SECOND_VALUE_SHARE = 0.1
# Below this steady share there is nothing that could be left alone or taken back.
LEAST_STEADY = 0.02
# It is back when it has so much of the share it had before.
BACK_SHARE = 0.8
FIRST_TOKEN_TIMEOUT_S = 3.0
SEED = 2
# A provider that limits rates says itself for how long.
AIMED = (Fault.ERRORS, Fault.HANG)
COLUMNS = (
    "subject", "decisions", "steady_share", "share_after_2_s", "left_alone_s", "back_s", "peak_of_steady", "fell_back",
    "failed", "p95_s", "queued_after_s",
)  # fmt: skip
LEGEND = (
    "share after 2 s: of the decisions from 2 s after the failure until the recovery; left alone: from the failure to the end "
    f"of the last {BIN_S:g} s with 1 % or more; back: from the recovery until {BACK_SHARE:.0%} of the steady share is reached "
    f"over {WINDOW_S:g} s; peak: highest share of any such second after the recovery / steady share; queued after: longest "
    "time with anything queued at it after the recovery"
)


class Plan(NamedTuple):
    """When it fails, recovers more than two seconds later, and when the run ends; seconds."""

    fails: float
    recovers: float
    ends: float


class Case(NamedTuple):
    """What is tried."""

    candidate: int
    fault: Fault


def cases(blind: Blind, candidates: int, *, quick: bool) -> list[Case]:
    """Errors at the second choice; then also at the favourite, and the other kinds of failure."""
    asked = np.bincount([ranking[0] for ranking in blind.rankings], minlength=candidates)
    asked[blind.favourite] = 0
    second = int(asked.argmax())
    if quick:
        return [Case(second, Fault.ERRORS)]
    return [
        Case(second, Fault.ERRORS),
        Case(blind.favourite, Fault.ERRORS),
        Case(second, Fault.HANG),
        Case(blind.favourite, Fault.HANG),
        Case(blind.favourite, Fault.RATE_LIMIT),
    ]


def fault(
    scene: Scene, blind: Blind, arrivals: Seconds, plan: Plan, tried: list[Case], say: Callable[[str], None]
) -> list[Section]:
    """A row for each case, and the targets."""
    table = Section("fault", f"One candidate fails for {plan.recovers - plan.fails:g} s", COLUMNS)
    targets = Section("fault_verdicts", "Targets: a candidate fails and recovers", VERDICT_COLUMNS)
    times = DECISIONS_PER_S / (LOAD * blind.saturation_per_s)
    fleet = enlarged(scene.fleet, times)
    scene = replace(scene, second_value_usd=SECOND_VALUE_SHARE * scene.second_value_usd)
    asked = workload(arrivals, DECISIONS_PER_S, plan.ends, len(scene.questions), SEED)
    for case in tried:
        subject = f"{case.fault.value} at {scene.fleet[case.candidate].label}"
        say(subject)
        backstage = Backstage()

        def prepare(gateway: Gateway, case: Case = case) -> None:
            server = gateway.servers[case.candidate]
            gateway.calendar.at(plan.fails, lambda: server.break_down(case.fault))
            gateway.calendar.at(plan.recovers, lambda: server.break_down(Fault.NONE))

        with seeing(scene, fleet, 1.0, backstage) as server:
            journeys, gateway = asyncio.run(
                closed_loop(
                    scene,
                    server.address,
                    backstage,
                    asked,
                    1.0,
                    fleet=fleet,
                    first_token_timeout_s=FIRST_TOKEN_TIMEOUT_S,
                    prepare=prepare,
                )
            )
        row = judged(journeys, case.candidate, plan)
        whole = figures.summary(journeys, scene.questions, gateway)
        row |= {name: whole[name] for name in ("fell_back", "failed", "p95_s")}
        row["queued_after_s"] = round(figures.longest(gateway.servers[case.candidate].queued(0), plan.recovers), 2)
        table.rows.append({"subject": subject, **row})
        told = " ".join("-" if share is None else f"{share:.3f}" for share in row["shares_from_failure"])
        table.notes.append(f"{subject}: share per {BIN_S:g} s from the failure on: {told}")
        targets.rows += _verdicts(subject, row, aimed=case.fault in AIMED)
    table.notes.append(LEGEND)
    targets.notes.append(
        f"{DECISIONS_PER_S:g} decisions per second at {LOAD:g}x of saturation in real time, default settings of the sidecar; a "
        f"second of waiting costs ${scene.second_value_usd:g}, so that the failure and not the load moves the shares; the "
        f"gateway gives a call up that has no first token after {FIRST_TOKEN_TIMEOUT_S:g} s, and reports nothing of it before; "
        "rate limits have no target here"
    )
    if not sees_load():
        targets.notes.append("THIS SIDECAR CANNOT SEE OUTCOMES: it never leaves the failed candidate alone")
    return [table, targets]


def judged(journeys: list[Journey], candidate: int, plan: Plan) -> Row:
    """The columns that the decisions alone tell.

    Args:
        journeys: all of the run.
        candidate: that failed.
        plan: when.
    """
    steady = _share(journeys, candidate, min(plan.fails / 3, plan.fails - WINDOW_S), plan.fails)
    edges = np.arange(plan.fails, plan.ends + 1e-9, BIN_S)
    shares, _ = figures.share_over_time(journeys, candidate, edges)
    during = shares[: round((plan.recovers - plan.fails) / BIN_S)]
    above = np.flatnonzero(~(during < 0.01))  # noqa: PLR2004 - the target's one per cent
    starts = np.arange(plan.recovers, plan.ends - WINDOW_S + 1e-9, STEP_S)
    after = np.array([_share(journeys, candidate, start, start + WINDOW_S) for start in starts])
    back = np.flatnonzero(after >= BACK_SHARE * steady)
    return {
        "decisions": len(journeys),
        "steady_share": round(steady, 4),
        "share_after_2_s": round(_share(journeys, candidate, plan.fails + LEAVE_S, plan.recovers), 5),
        "left_alone_s": float((above[-1] + 1) * BIN_S) if len(above) else 0.0,
        "back_s": round(float(starts[back[0]] + WINDOW_S - plan.recovers), 2) if len(back) else None,
        "peak_of_steady": round(float(np.nanmax(after)) / steady, 3) if steady and len(after) else None,
        "shares_from_failure": [None if np.isnan(share) else round(float(share), 4) for share in shares],
    }


def _share(journeys: list[Journey], candidate: int, start: float, stop: float) -> float:
    shares, _ = figures.share_over_time(journeys, candidate, np.array([start, stop]))
    return float(shares[0])


def _verdicts(subject: str, row: Row, *, aimed: bool) -> list[Row]:
    if row["steady_share"] < LEAST_STEADY:
        return [verdict(f"{subject}: its steady share is too small to tell anything", None, "< 0.01" if aimed else "")]
    back, left = row["back_s"], row["share_after_2_s"]
    told = f"{subject}: back at its share, s" + ("" if back is not None else " (not within the run)")
    return [
        verdict(f"{subject}: share from {LEAVE_S:g} s on", left, "< 0.01" if aimed else ""),
        verdict(told, float("inf") if back is None else back, at_most(RETURN_S) if aimed else ""),
        verdict(
            f"{subject}: highest second after it / steady share", row["peak_of_steady"], at_most(1.5) if aimed else ""
        ),
    ]
