"""Four policies under the same requests, from a third of the load at which the blind one saturates to half beyond it."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.fleet import bounds, figures, stretches
from benchmarks.fleet.calendar import Calendar
from benchmarks.fleet.gateway import Gateway, Journey
from benchmarks.fleet.loop import closed_loop
from benchmarks.fleet.policies import FLOOR, LeastInFlight, Policy, Recorded, RoundRobin, good_enough
from benchmarks.fleet.replay import at_once
from benchmarks.fleet.scene import (
    Backstage,
    Blind,
    Scene,
    seeing,
    sees_load,
)
from benchmarks.fleet.workload import Workload, workload
from benchmarks.report import Section
from benchmarks.samples import Row, percentile
from benchmarks.schedule import Seconds
from benchmarks.verdict import COLUMNS as VERDICT_COLUMNS
from benchmarks.verdict import at_least, at_most, verdict

BLIND, TURNS, LEAST, OURS = "load-blind", "round robin", "least in flight", "ours"
SATURATION = 1.0
SEED = 1
COLUMNS = (
    "subject", "load", "requests", "p50_s", "p95_s", "p99_s", "quality", "usd_per_1k", "over_capacity_s", "queued_s",
    "fell_back", "failed", "shares",
)  # fmt: skip
LEGEND = (
    "load: offered / that at which the load-blind router's favourite has no slot left; s: virtual seconds from arrival to "
    "the complete answer; over capacity: longest time in which a candidate had more than a second's work queued, queued: "
    "in which it had anything queued; fell back: requests whose first candidate failed or turned them away"
)


@dataclass(frozen=True)
class Extent:
    """How much is run.

    Attributes:
        speed: virtual seconds per real one.
        seconds: virtual ones in which requests come.
        warm_up_s: virtual ones at the beginning that do not count.
        loads: multiples of the saturating load; 1 is among them.
    """

    speed: float
    seconds: float
    warm_up_s: float
    loads: tuple[float, ...]


def sweep(
    scene: Scene, blind: Blind, traces: dict[str, Seconds], extent: Extent, say: Callable[[str], None]
) -> list[Section]:
    """The first trace at all loads, the others at saturation; a table of each, and the targets.

    Args:
        scene: fleet and questions.
        blind: what the blind router decides.
        traces: arrivals by name.
        extent: how much is run.
        say: is told of progress.
    """
    tables, targets = [], Section("sweep_verdicts", "Targets: under load", VERDICT_COLUMNS)
    backstage = Backstage()
    with seeing(scene, scene.fleet, extent.speed, backstage) as server:
        for number, (name, arrivals) in enumerate(traces.items()):
            title = f"{name}: load-blind saturates {scene.names[blind.favourite]} at {blind.saturation_per_s:.2f} req/s"
            table = Section(f"sweep_{name}", title, COLUMNS)
            for load in extent.loads if number == 0 else (SATURATION,):
                say(f"{name} at {load:g}x")
                asked = workload(arrivals, load * blind.saturation_per_s, extent.seconds, len(scene.questions), SEED)
                runs = _baselines(scene, blind, asked)
                runs[OURS] = _ours(scene, server.address, backstage, asked, extent)
                for subject, (journeys, gateway) in runs.items():
                    row = figures.summary(journeys, scene.questions, gateway, extent.warm_up_s)
                    table.rows.append({"subject": subject, "load": load, **row})
                if load == SATURATION:
                    targets.rows += _verdicts(scene, name, runs, table.rows[-len(runs) :], extent.warm_up_s)
                    say(f"what could be had on {name}")
                    could = _bounds(scene, blind, name, asked, extent.warm_up_s, runs[BLIND])
                    targets.rows += _balance(scene, blind, name, asked, extent.warm_up_s, runs[OURS][1])
                table.notes += _asides(load, runs[OURS][0], extent.speed)
            table.notes += [LEGEND] if number == 0 else []
            tables += [table, could]
    targets.notes += _told(scene, extent)
    return [*tables, targets]


def _baselines(scene: Scene, blind: Blind, asked: Workload) -> dict[str, tuple[list[Journey], Gateway]]:
    among = good_enough(scene.prior_quality)
    deciders: dict[str, Policy] = {
        BLIND: Recorded(blind.rankings),
        TURNS: RoundRobin(among, scene.questions.answerable),
        LEAST: LeastInFlight(among, scene.questions.answerable),
    }
    runs = {}
    for subject, decider in deciders.items():
        gateway = Gateway(scene.fleet, scene.questions, Calendar())
        runs[subject] = at_once(asked, gateway, decider), gateway
    return runs


def _ours(
    scene: Scene, address: str, backstage: Backstage, asked: Workload, extent: Extent
) -> tuple[list[Journey], Gateway]:
    return asyncio.run(closed_loop(scene, address, backstage, asked, extent.speed))


def _verdicts(
    scene: Scene,
    trace: str,
    runs: dict[str, tuple[list[Journey], Gateway]],
    rows: Iterable[Row],
    warm_up_s: float,
) -> list[Row]:
    row = {one["subject"]: one for one in rows}
    quality = {
        subject: figures.qualities(figures.counted(journeys, warm_up_s), scene.questions)
        for subject, (journeys, _) in runs.items()
    }
    points, error = figures.quality_difference(quality[OURS], quality[BLIND])
    worse = {
        subject: None
        if not row[OURS]["p95_s"] or not row[subject]["p95_s"]
        else row[subject]["p95_s"] / row[OURS]["p95_s"]
        for subject in (BLIND, TURNS, LEAST)
    }
    return [
        verdict(f"{trace}: p95 load-blind / ours at saturation", worse[BLIND], at_least(2.5)),
        verdict(f"{trace}: - quality lost, points (+- {error:.2f} standard error)", -points, at_most(0.5)),
        verdict(f"{trace}: - longest over capacity, s (ours)", row[OURS]["over_capacity_s"], at_most(5)),
        verdict(f"{trace}: - the same, of load-blind", row[BLIND]["over_capacity_s"], ""),
        verdict(f"{trace}: - longest with anything queued at all, s (ours)", row[OURS]["queued_s"], at_most(5)),
        verdict(f"{trace}: - p95 round robin / ours", worse[TURNS], ""),
        verdict(f"{trace}: - p95 least in flight / ours", worse[LEAST], ""),
        verdict(
            f"{trace}: - quality ours less least in flight, points",
            figures.quality_difference(quality[OURS], quality[LEAST])[0],
            "",
        ),
        verdict(
            f"{trace}: - cost ours / least in flight",
            row[OURS]["usd_per_1k"] / row[LEAST]["usd_per_1k"] if row[LEAST]["usd_per_1k"] else None,
            "",
        ),
    ]


def _bounds(
    scene: Scene, blind: Blind, trace: str, asked: Workload, warm_up_s: float, baseline: tuple[list[Journey], Gateway]
) -> Section:
    """What knowledge that no router has would be worth on the same requests."""
    kept = figures.counted(baseline[0], warm_up_s)
    p95 = percentile(figures.answers_s(kept), 0.95)
    against = bounds.Against(p95 or 0.0, figures.qualities(kept, scene.questions))
    title = f"{trace}: what could be had at saturation, by the same rule with more knowledge than a router can have"
    found = Section(f"sweep_{trace}_bounds", title, bounds.COLUMNS)
    found.rows += bounds.foreseen(scene, blind, asked, warm_up_s, against)
    found.notes.append(bounds.LEGEND)
    return found


def _balance(scene: Scene, blind: Blind, trace: str, asked: Workload, warm_up_s: float, ours: Gateway) -> list[Row]:
    """Of the time over capacity, what no router escapes and what ours is to blame for."""
    everyone, good = list(range(len(scene.fleet))), good_enough(scene.prior_quality)
    rows = []
    for among, whose in ((everyone, "all"), (good, f"the {len(good)} best")):
        idle = figures.unbalanced(ours, scene.questions, among, warm_up_s)
        rows += [
            verdict(
                f"{trace}: - over capacity while another had a free slot, longest, s (ours; {whose})",
                figures.longest(idle),
                "",
            ),
            verdict(f"{trace}: - the same in all, s ({whose})", stretches.total(idle), ""),
            *(
                verdict(
                    f"{trace}: - bound: over capacity whoever decides, longest, s ({whose}; {lengths})",
                    bounds.least_over(scene, tokens, among, asked, warm_up_s),
                    "",
                )
                for lengths, tokens in ((bounds.EXPECTED, blind.expected.tokens), (bounds.TRUE, scene.questions.tokens))
            ),
        ]
    return rows


def _asides(load: float, journeys: Sequence[Journey], speed: float) -> list[str]:
    """How long decisions took, since under a compressed clock that counts many times over, and what they expected."""
    took = sorted(journey.decided - journey.arrived for journey in journeys)
    middle, high = (took[min(len(took) - 1, int(len(took) * share))] for share in (0.5, 0.99))
    told = (
        f"at {load:g}x ours waited {middle / speed * 1e3:.1f} ms for its decisions at p50 and {high / speed * 1e3:.1f} ms at "
        f"p99, the generator's lag included, which counts {speed:g}-fold in its virtual seconds"
    )
    kept = [journey for journey in journeys if journey.answered_by == journey.chosen and journey.expected_s > 0]
    if kept:
        ratio = median(journey.expected_s * speed / (journey.done - journey.decided) for journey in kept)
        told += f"; the time that it expected was {ratio:.2f} of the real one at the median"
    return [told]


def _told(scene: Scene, extent: Extent) -> list[str]:
    among = ", ".join(scene.names[index] for index in good_enough(scene.prior_quality))
    told = [
        f"virtual time runs {extent.speed:g}x as fast as real time; {extent.seconds:g} virtual seconds per run, the first "
        f"{extent.warm_up_s:g} not counted; a second of waiting costs ${scene.second_value_usd:g}",
        f"round robin and least in flight choose among candidates whose mean quality in training is at most {FLOOR:g} below "
        f"the best one's: {among}; least in flight goes by the share of slots taken, counted exactly",
    ]
    if not sees_load():
        told.append("THIS SIDECAR CANNOT SEE LOAD (its configuration has no `fleet`): `ours` is blind, too")
    if not scene.telemetry:
        told.append("telemetry of the self-hosted candidates was switched off")
    if not scene.headers:
        told.append("rate-limit headers of the hosted candidates were switched off")
    return told
