"""What a decision costs with the ledger and the live fleet, beside one without; and how many outcomes are kept per second."""

from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple

from benchmarks.client import CODES
from benchmarks.fleet import settings
from benchmarks.fleet.asking import REPORT_OUTCOME
from benchmarks.fleet.scene import ANSWER_VALUE_USD, SECOND_VALUE_USD, Backstage, Scene, seeing, sees_load, started
from benchmarks.frames import FramesClient
from benchmarks.offered import SPIN_S, closed_loop, open_loop
from benchmarks.prompts import texts
from benchmarks.report import Section
from benchmarks.samples import Row, fell_behind, lag, summary
from benchmarks.schedule import poisson
from benchmarks.server import Server
from benchmarks.stages import decode
from benchmarks.verdict import COLUMNS as VERDICT_COLUMNS
from benchmarks.verdict import at_least, at_most, verdict
from sidecar.lanes.services import ROUTE
from sidecar.wire import router_pb2 as pb

OFF, ON = "ledger and fleet off", "ledger and fleet on"
CHARS, PROMPTS = 200, 20_000
IN_FLIGHT, CONNECTIONS = 64, 8
HALF = 0.5
# Outcomes come from as many callers as a busy gateway has answers that end at once.
REPORTING, TOGETHER, DECIDING_S = 256, 16, 1.0
# RouteBalance (arXiv 2606.17949) states about 32 ms for its joint decision at 12 requests per second.
THEIR_RATE, THEIR_MS = 12.0, 32.0
UNIMPLEMENTED = CODES.index("UNIMPLEMENTED")
COLUMNS = (
    "subject", "offered_per_second", "p50_us", "p99_us", "worker_us_per_call", "other_us_per_call", "lag_p99_us", "errors",
)  # fmt: skip
OUTCOME_COLUMNS = ("subject", "outcomes_per_second", "p50_us", "p99_us", "errors")


class Extent(NamedTuple):
    """How long everything takes: seconds of each measurement, and how often off and on take turns."""

    seconds: float
    rounds: int
    slow_seconds: float


def cost(scene: Scene, extent: Extent, say: Callable[[str], None]) -> list[Section]:
    """Route with and without, in turn; outcomes; a slow trickle as in RouteBalance's measurement; and the targets."""
    routes = Section("cost", "Route at half of the peak, with and without ledger and fleet, in turn", COLUMNS)
    outcomes = Section("outcomes", "Outcomes that are on disk when they are acknowledged", OUTCOME_COLUMNS)
    payloads = _requests()
    with (
        started(scene, settings.blind(scene.fleet, 1.0)) as off,
        seeing(scene, scene.fleet, 1.0, Backstage()) as on,
    ):
        servers = {OFF: off, ON: on}
        say("peak")
        peak = min(_peak(server, payloads, extent.seconds) for server in servers.values())
        for number in range(extent.rounds):
            say(f"round {number + 1} of {extent.rounds}")
            for subject in (OFF, ON) if number % 2 == 0 else (ON, OFF):
                row, complaint = _half_load(scene, servers[subject], payloads, peak, extent.seconds, number)
                routes.rows.append({"subject": subject, **row})
                routes.notes += [f"{subject}: {complaint}"] if complaint else []
        say(f"{THEIR_RATE:g} requests per second")
        trickle = _trickle(on, payloads, extent.slow_seconds)
        routes.rows.append({"subject": f"{ON}, {THEIR_RATE:g} req/s", **trickle})
        say("outcomes")
        outcomes.rows += _outcomes(on, payloads, extent.seconds)
    routes.notes.append(
        f"peak {peak:,.0f} req/s at {IN_FLIGHT} in flight, the lower of the two; worker: processor time of the workers per "
        "call, other: of all other processes of the sidecar; no outcomes are reported meanwhile"
    )
    if not sees_load():
        routes.notes.append("THIS SIDECAR HAS NEITHER: `on` is the same as `off`")
    return [routes, outcomes, _verdicts(routes.rows, outcomes.rows)]


def _requests() -> list[bytes]:
    policy = pb.Policy(answer_value_usd=ANSWER_VALUE_USD, second_value_usd=SECOND_VALUE_USD)
    return [
        pb.RouteRequest(text=text, segment="simulated", policy=policy).SerializeToString()
        for text in texts(CHARS, PROMPTS, 1)
    ]


def _peak(server: Server, payloads: Sequence[bytes], seconds: float) -> float:
    client = FramesClient(server.address, ROUTE, CONNECTIONS)
    try:
        samples = closed_loop(client, payloads, IN_FLIGHT, seconds)
    finally:
        client.close()
    return samples.good / samples.elapsed_s


def _half_load(
    scene: Scene, server: Server, payloads: Sequence[bytes], peak: float, seconds: float, number: int
) -> tuple[Row, str]:
    # The same arrivals for both of a round.
    schedule = poisson(HALF * peak, seconds, number + 1)
    client = FramesClient(server.address, ROUTE, CONNECTIONS)
    try:
        before, every = _workers_s(server), server.cpu_s()
        samples = open_loop(client, schedule, payloads, spin_s=0.0 if scene.cores.shared else SPIN_S)
        workers, whole = _workers_s(server) - before, server.cpu_s() - every
    finally:
        client.close()
    calls = max(1, samples.good)
    return {
        **summary(samples),
        **lag(samples),
        "worker_us_per_call": round(workers / calls * 1e6, 2),
        "other_us_per_call": round(max(0.0, whole - workers) / calls * 1e6, 2),
    }, fell_behind(samples)


def _trickle(server: Server, payloads: Sequence[bytes], seconds: float) -> Row:
    client = FramesClient(server.address, ROUTE)
    try:
        samples = open_loop(client, poisson(THEIR_RATE, seconds, 1), payloads)
    finally:
        client.close()
    return {**summary(samples), **lag(samples)}


def _outcomes(server: Server, payloads: Sequence[bytes], seconds: float) -> list[Row]:
    ids = _decided(server, payloads)
    rows: list[Row] = []
    for together, in_flight in ((1, REPORTING), (TOGETHER, REPORTING // TOGETHER)):
        reports = reports_of(ids, together)
        client = FramesClient(server.address, REPORT_OUTCOME, CONNECTIONS)
        try:
            samples = closed_loop(client, reports, in_flight, seconds)
        finally:
            client.close()
        row = summary(samples)
        rows.append(
            {
                "subject": f"{together} in a call, {in_flight} calls in flight",
                **row,
                "outcomes_per_second": round(row["per_second"] * together, 1) if samples.good else None,
                "unimplemented": bool((samples.status == UNIMPLEMENTED).any()),
            }
        )
    return rows


def _decided(server: Server, payloads: Sequence[bytes]) -> list[str]:
    client = FramesClient(server.address, ROUTE, CONNECTIONS)
    try:
        samples = closed_loop(client, payloads, IN_FLIGHT, DECIDING_S, warm_up_s=0.0)
    finally:
        client.close()
    return [reply.decision_id for reply in decode(samples)]


def reports_of(ids: Sequence[str], together: int) -> list[bytes]:
    """Serialised reports of an answer each, no two alike: no outcome is one that was told before.

    Args:
        ids: of decisions; used in turn.
        together: outcomes in one report.
    """
    count = PROMPTS // together
    return [
        pb.ReportOutcomeRequest(
            outcomes=[
                pb.Outcome(
                    decision_id=ids[(number * together + part) % len(ids)],
                    key=f"{number}-{part}-{together}",
                    latency_ms=1000 + number % 1000,
                    first_token_ms=200,
                    input_tokens=160,
                    output_tokens=120,
                    quality=float(number % 2),
                )
                for part in range(together)
            ]
        ).SerializeToString()
        for number in range(count)
    ]


def _verdicts(routes: Sequence[Row], outcomes: Sequence[Row]) -> Section:
    targets = Section("cost_verdicts", "Targets: what it costs", VERDICT_COLUMNS)
    cpu_off, cpu_on = (_median(routes, name, "worker_us_per_call") for name in (OFF, ON))
    p99_off, p99_on = (_median(routes, name, "p99_us") for name in (OFF, ON))
    share = cpu_on / cpu_off if cpu_off and cpu_on else None
    added_us = p99_on - p99_off if p99_off is not None and p99_on is not None else None
    targets.rows.append(verdict("Route's processor time, on / off", share, at_most(1.1)))
    targets.rows.append(verdict("Route's p99 at half load, on - off, ms", _ms(added_us), at_most(0.1)))
    slow = routes[-1]
    targets.rows.append(
        verdict(f"Route at {THEIR_RATE:g} req/s, p50, ms (RouteBalance: about {THEIR_MS:g})", _ms(slow["p50_us"]), "")
    )
    targets.rows.append(verdict("- its slowest call, ms", _ms(slow["max_us"]), ""))
    rates = [row["outcomes_per_second"] for row in outcomes if row["outcomes_per_second"] is not None]
    targets.rows.append(
        verdict("outcomes acknowledged per second, the better way", max(rates, default=None), at_least(5000))
    )
    for row in outcomes:
        targets.rows.append(verdict(f"- {row['subject']}: p99 of the acknowledgement, ms", _ms(row["p99_us"]), ""))
    if any(row["unimplemented"] for row in outcomes):
        targets.notes.append("ReportOutcome is not implemented by this sidecar: outcomes were not measured")
    targets.notes.append(
        "RouteBalance (arXiv 2606.17949): about 32 ms for its joint decision at 12 requests/s, on its own machine"
    )
    return targets


def _median(rows: Sequence[Row], subject: str, column: str) -> float | None:
    values = [row[column] for row in rows if row["subject"] == subject and row[column] is not None]
    return float(median(values)) if values else None


def _ms(microseconds: float | None) -> float | None:
    return None if microseconds is None else round(microseconds / 1e3, 3)


def _workers_s(server: Server) -> float:
    return float(sum(sum(worker.cpu_times()[:2]) for worker in server.workers()))
