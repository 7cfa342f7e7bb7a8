"""A thousand requests at once on telemetry that is 200 ms old: do they all run to the same server?

The servers are equally fast and cost the same, and the policy leaves quality out, so nothing but their load tells them
apart. The ideal split is then the one after which all requests wait equally long.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmarks.client import OK
from benchmarks.fleet import settings
from benchmarks.fleet.calendar import Calendar
from benchmarks.fleet.candidates import Candidate
from benchmarks.fleet.exposition import MetricsServer, exposition
from benchmarks.fleet.figures import ideal_split
from benchmarks.fleet.scene import Scene, sees_load, started
from benchmarks.fleet.servers import Call, Server
from benchmarks.frames import FramesClient
from benchmarks.offered import open_loop
from benchmarks.prompts import texts
from benchmarks.report import Section
from benchmarks.samples import Row
from benchmarks.stages import decode
from benchmarks.verdict import COLUMNS as VERDICT_COLUMNS
from benchmarks.verdict import at_most, verdict
from sidecar.lanes.services import ROUTE
from sidecar.wire import router_pb2 as pb

REQUESTS, WORKERS, CONNECTIONS = 1000, 2, 16
AGE_S = 0.2
SCRAPES, SCRAPED_WITHIN_S = 3, 8.0
INTERVAL_S = 0.1
POLICY = "herd"
SERVICE_S = 2.0
COLUMNS = ("subject", "requests", "errors", "off_by", "shares", "ideal", "telemetry_age_ms", "spread_over_ms")
LEGEND = (
    "off by: the largest of |share / ideal share - 1|; telemetry age: of the last page that a scrape was given, when the first "
    "request was sent; spread over: from the first request's sending to the last reply"
)


class Case(NamedTuple):
    """What the servers say of themselves.

    Attributes:
        name: of the case.
        slots: of each.
        in_flight: of each.
    """

    name: str
    slots: Sequence[int]
    in_flight: Sequence[int]


CASES = (
    Case("identical, idle", (100,) * 6, (0,) * 6),
    Case("identical, half busy", (100,) * 6, (50,) * 6),
    Case("unequal free capacity", (50, 100, 150, 200, 250, 300), (40, 20, 100, 180, 60, 250)),
)


class Frozen:
    """Pages that say the same until they fall silent.

    Attributes:
        silent: whether they have.
        last: clock reading when the last page was given.
    """

    def __init__(self, pages: Mapping[str, str]) -> None:
        self.silent = False
        self.last = 0.0
        self.given = dict.fromkeys(pages, 0)
        self._pages = pages

    def text(self, name: str) -> str | None:
        """A candidate's page; None once it is silent."""
        if self.silent:
            return None
        self.last = time.perf_counter()
        self.given[name] += 1
        return self._pages[name]


def herd(scene: Scene, cases: Sequence[Case], say: Callable[[str], None]) -> list[Section]:
    """A row for each case, and the targets."""
    table = Section(
        "herd", f"{REQUESTS} requests at once, {WORKERS} workers, telemetry {AGE_S * 1e3:g} ms old", COLUMNS
    )
    targets = Section("herd_verdicts", "Targets: no herd", VERDICT_COLUMNS)
    for case in cases:
        say(case.name)
        row, complaint = _run(scene, case)
        table.rows.append({"subject": case.name, **row})
        table.notes += [f"{case.name}: {complaint}"] if complaint else []
        targets.rows.append(verdict(f"{case.name}: share off the ideal one, at most", row["off_by"], at_most(0.1)))
    table.notes.append(LEGEND)
    if not sees_load():
        targets.notes.append("THIS SIDECAR CANNOT SEE LOAD: it has no telemetry to go by")
    return [table, targets]


def _run(scene: Scene, case: Case) -> tuple[Row, str]:
    fleet = [
        replace(
            candidate, hosted=False, slots=slots, first_token_s=SERVICE_S, token_s=1e-6, slowdown=0.0,
            limit_per_s=float("inf"),
        )
        for candidate, slots in zip(scene.fleet, case.slots, strict=True)
    ]  # fmt: skip
    frozen = Frozen({one.name: page(one, busy) for one, busy in zip(fleet, case.in_flight, strict=True)})
    with MetricsServer(scene.names, frozen.text) as pages:
        urls = {name: pages.url(name) for name in scene.names}
        with started(scene, table_for(fleet, urls)) as server:
            complaint = _await_scrapes(frozen)
            client = FramesClient(server.address, ROUTE, CONNECTIONS)
            try:
                frozen.silent = True
                time.sleep(max(0.0, frozen.last + AGE_S - time.perf_counter()))
                age = time.perf_counter() - frozen.last
                run = open_loop(client, np.zeros(REQUESTS), asked())
            finally:
                client.close()
    replies = decode(run)
    index = {name: number for number, name in enumerate(scene.names)}
    counts = np.bincount([index[reply.ranking[0].candidate] for reply in replies], minlength=len(fleet))
    ideal = ideal_split(case.slots, case.in_flight, REQUESTS)
    good = run.status == OK
    return {
        "requests": REQUESTS,
        "errors": run.errors(),
        "off_by": round(off_by(counts, ideal), 3),
        "shares": _numbered(counts / max(1, counts.sum())),
        "ideal": _numbered(ideal / ideal.sum()),
        "telemetry_age_ms": round(age * 1e3),
        "spread_over_ms": round(float(run.done[good].max() - run.sent.min()) * 1e3, 1) if good.any() else None,
    }, complaint


def off_by(counts: ArrayLike, ideal: ArrayLike) -> float:
    """The largest relative difference between a share and the ideal one; inf where one was to get nothing and got some."""
    share = np.asarray(counts, dtype=np.float64) / max(1.0, float(np.sum(counts)))
    wanted = np.asarray(ideal, dtype=np.float64) / float(np.sum(ideal))
    with np.errstate(divide="ignore", invalid="ignore"):
        differences = np.where((wanted == 0) & (share == 0), 0.0, np.abs(share / wanted - 1.0))
    return float(differences.max())


def page(candidate: Candidate, in_flight: int) -> str:
    """What the server's metrics say with so many calls in flight."""
    server = Server(candidate, Calendar())
    for _ in range(in_flight):
        server.submit(Call(1.0, 1.0, lambda _call: None))
    return exposition(server, 1.0)


def table_for(fleet: Sequence[Candidate], urls: Mapping[str, str]) -> settings.Table:
    """A configuration in which nothing but load tells the candidates apart."""
    table = settings.sighted(fleet, 1.0, workers=WORKERS, metrics=urls)
    table["policies"] = {POLICY: {"answer_value_usd": 0.0, "second_value_usd": 1.0}}
    table["quality_free_policies"] = [POLICY]
    table["default_policy"] = POLICY
    for entry in table["candidates"]:
        entry |= {"input_usd_per_mtok": 0.0, "output_usd_per_mtok": 0.0}
        if "telemetry" in entry:
            entry["telemetry"]["interval_seconds"] = INTERVAL_S
    return table


def asked() -> list[bytes]:
    """The requests: answers of one token, so that what the router expects of their lengths tells nobody apart."""
    return [
        pb.RouteRequest(text=text, max_output_tokens=1, prompt_tokens=1).SerializeToString()
        for text in texts(200, REQUESTS, 1)
    ]


def _await_scrapes(frozen: Frozen) -> str:
    """Waits until every page was given some times; says so if that never happens."""
    until = time.perf_counter() + (SCRAPED_WITHIN_S if sees_load() else 0.0)
    while min(frozen.given.values()) < SCRAPES:
        if time.perf_counter() >= until:
            return "nobody scraped the telemetry"
        time.sleep(0.01)
    return ""


def _numbered(shares: NDArray[np.float64]) -> dict[str, float]:
    return {f"#{number + 1}": round(float(share), 4) for number, share in enumerate(shares)}
