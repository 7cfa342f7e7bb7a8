"""A small segment beside one that floods: with a connection of its own, and on the connections of the flood."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.flood import flood
from benchmarks.goodput import judged
from benchmarks.plan import Plan
from benchmarks.prompts import texts
from benchmarks.report import Section
from benchmarks.samples import Row, fell_behind
from benchmarks.schedule import Seconds, poisson
from benchmarks.stencil import Numbers
from benchmarks.verdict import at_least, verdict
from sidecar.lanes.services import ROUTE
from sidecar.wire import router_pb2 as pb

# Names of one length, since the bytes of all calls of a run must be equally many.
FEW, FLOOD = "minor", "flood"
FLOOD_FACTOR, FEW_RATE, FEW_SECONDS = 3.0, 100.0, 3.0
# Requests that differ in more than their salt.
MOST_TEXTS = 10_000
ALONE, OWN, SHARED = "few, alone", "few, own connection beside the flood", "few, on the flood's connections"
FLOOD_OWN, FLOOD_SHARED = "flood, other connections", "flood, same connections"
TARGETS = {OWN: at_least(0.99), SHARED: at_least(0.95)}
COLUMNS = (
    "subject", "offered_per_second", "goodput_per_second", "success", "coverage", "coverage_of_answered",
    "sent_p50_us", "sent_p99_us", "due_p50_us", "due_p99_us", "late", "rejected", "degraded", "errors", "lag_p99_us",
)  # fmt: skip


class Mixed(NamedTuple):
    """Two segments in one schedule.

    Attributes:
        due: [N] seconds from the start, ascending.
        is_few: [N] whose call each is.
    """

    due: Seconds
    is_few: NDArray[np.bool_]

    def over(self, connections: int, *, apart: bool) -> Numbers:
        """[N] the number of the connection of each call.

        Args:
            connections: at least two.
            apart: the first connection is that of the few alone; else both use all.
        """
        number = np.arange(len(self.due))
        return np.where(self.is_few, 0, 1 + number % (connections - 1)) if apart else number % connections


def mixed(few: Seconds, flooding: Seconds) -> Mixed:
    """Puts two schedules into one.

    Args:
        few: [F] ascending.
        flooding: [G] ascending.
    """
    due = np.concatenate([few, flooding])
    order = np.argsort(due, kind="stable")
    return Mixed(due[order], order < len(few))


@lru_cache(maxsize=4)
def segment_requests(chars: int, count: int, seed: int, segment: str) -> tuple[bytes, ...]:
    """Serialised RouteRequests of one segment, all of one length."""
    made = texts(chars, min(count, MOST_TEXTS), seed)
    return tuple(
        pb.RouteRequest(text=text, segment=segment, metadata={"tenant": "acme"}).SerializeToString() for text in made
    )


def fairness(plan: Plan, address: str, peak: float, *, deadline_s: float) -> Section:
    """A segment of a hundred calls per second: alone, beside a flood, and in the middle of it."""
    section = Section(
        "fairness",
        f"Fairness: {FEW_RATE:g} req/s of one segment while another sends {FLOOD_FACTOR:g}x of peak",
        COLUMNS,
    )
    seconds = max(plan.seconds, FEW_SECONDS)
    few = poisson(FEW_RATE, seconds, plan.seed)
    both = mixed(few, poisson(FLOOD_FACTOR * peak, seconds, plan.seed + 1))
    connections = max(2, plan.connections)
    minor, major = (segment_requests(plan.chars, MOST_TEXTS, plan.seed, name) for name in (FEW, FLOOD))
    choice = np.arange(len(both.due)) % len(minor) + np.where(both.is_few, 0, len(minor))
    alone = flood(address, ROUTE, few, minor, np.zeros(len(few), np.int64), deadline_s=deadline_s, spin_s=plan.spin_s)
    section.rows.append({"subject": ALONE, **judged(alone.samples, deadline_s)})
    for subject, other, apart in ((OWN, FLOOD_OWN, True), (SHARED, FLOOD_SHARED, False)):
        over = both.over(connections, apart=apart)
        run = flood(
            address, ROUTE, both.due, minor + major, over, deadline_s=deadline_s, choice=choice, spin_s=plan.spin_s
        )
        section.rows.append({"subject": subject, **judged(run.samples.part(both.is_few), deadline_s)})
        section.rows.append({"subject": other, **judged(run.samples.part(~both.is_few), deadline_s)})
        section.notes += [complaint] if (complaint := fell_behind(run.samples)) else []
        section.notes += [f"{subject}: the server ended {run.reconnects} connections"] if run.reconnects else []
    return section


def fairness_verdicts(rows: list[Row]) -> list[Row]:
    """The targets of the table `fairness`: shares of the small segment's calls that were answered, and scored."""
    found = []
    for row in rows:
        subject = str(row["subject"])
        if target := TARGETS.get(subject):
            found.append(verdict(f"{subject}: answered", row["success"], target))
            found.append(verdict(f"{subject}: scored", row["coverage"], ""))
    return found
