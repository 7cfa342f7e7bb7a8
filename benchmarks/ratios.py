"""How much of what the transport can do is left when every call is really routed?

The machine drifts by more than the differences that matter, so the servers live side by side and take turns, in one
order and then in the other; the ratios are medians over the rounds.
"""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from statistics import median

import click

from benchmarks import h2load
from benchmarks.closed import measure
from benchmarks.floor import METHOD, command
from benchmarks.offered import closed_loop
from benchmarks.plan import Plan
from benchmarks.prompts import batches
from benchmarks.report import Section
from benchmarks.samples import Row, summary
from benchmarks.server import UNCACHED, Server, ServerFault, sidecar_command
from sidecar.lanes.services import ROUTE, ROUTE_BATCH

HIGH, LONE = 64, 1
ITEMS_OF_A_BATCH = 32
ROUTE_HTTP2, ROUTE_GRPCIO, BATCH_HTTP2 = "Route, http2", "Route, grpcio", "RouteBatch, http2 (items)"
EMPTY_HTTP2, EMPTY_GRPCIO = "empty handler, http2", "empty handler, grpcio"
COLUMNS = ("subject", "in_flight", "per_second", "p50_us", "p99_us", "errors", "rounds")
RATIO_COLUMNS = ("subject", "ratio", "lowest", "highest", "target", "verdict")


class Turn:
    """One server under one load, measured once in each round.

    Args:
        subject: what is measured.
        in_flight: calls.
        take: measures once.
    """

    def __init__(self, subject: str, in_flight: int, take: Callable[[], Row]) -> None:
        self.subject = subject
        self.in_flight = in_flight
        self.take = take
        self.rows: list[Row] = []

    def values(self, column: str) -> list[float]:
        """The figure of each round."""
        return [row[column] for row in self.rows if row.get(column) is not None]

    def row(self) -> Row:
        """Medians over the rounds."""
        middle = {
            column: median(values) for column in ("per_second", "p50_us", "p99_us") if (values := self.values(column))
        }
        errors: dict[str, int] = {}
        for row in self.rows:
            for name, count in row["errors"].items():
                errors[name] = errors.get(name, 0) + count
        return {
            "subject": self.subject,
            "in_flight": self.in_flight,
            "rounds": len(self.rows),
            **middle,
            "errors": errors,
        }


def alternate(turns: list[Turn], rounds: int, told: Callable[[str], None] = lambda _line: None) -> None:
    """Measures each in turn, `rounds` times, every second round in reverse order."""
    for number in range(rounds):
        for turn in turns if number % 2 == 0 else reversed(turns):
            told(f"round {number + 1}/{rounds}: {turn.subject}, {turn.in_flight} in flight")
            turn.rows.append(turn.take())


def ratio(above: Turn, below: Turn, column: str) -> tuple[float, float, float]:
    """Median, lowest and highest of the ratio within each round."""
    each = [high / low for high, low in zip(above.values(column), below.values(column), strict=True)]
    return median(each), min(each), max(each)


def ratios(plan: Plan) -> list[Section]:
    """The rows of the design's table that compare the whole job with empty handlers and with the grpcio."""
    table = Section("ratio_rounds", f"Servers in turn, {plan.chars} characters, medians over the rounds", COLUMNS)
    with ExitStack() as running:
        turns: dict[tuple[str, int], Turn] = {}

        def add(subject: str, levels: tuple[int, ...], take: Callable[[int], Row]) -> None:
            for in_flight in levels:
                turns[subject, in_flight] = Turn(subject, in_flight, partial(take, in_flight))

        for subject, transport in ((ROUTE_HTTP2, "http2"), (ROUTE_GRPCIO, "grpcio")):
            try:
                server = running.enter_context(
                    Server(sidecar_command(plan.bundle, transport, UNCACHED), plan.cores.server)
                )
            except ServerFault as fault:
                table.notes.append(str(fault))
                continue
            add(subject, (HIGH, LONE), _caller(plan, server, ROUTE, plan.prompts()[0]))
            if transport == "http2":
                add(BATCH_HTTP2, (4,), _batch_caller(plan, server))
        for subject, transport in ((EMPTY_HTTP2, "http2"), (EMPTY_GRPCIO, "grpcio")):
            floor = running.enter_context(Server(command(transport, plan.floor_bytes), plan.cores.server))
            add(subject, (HIGH, LONE), _caller(plan, floor, METHOD, plan.prompts()[0]))
        alternate(list(turns.values()), plan.rounds, lambda line: click.echo(f"  {line}", err=True))
    table.notes.append("without a score cache, since h2load sends one prompt over and over")
    table.rows += [turn.row() for turn in turns.values()]
    return [table, _compared(plan, turns)]


def _caller(plan: Plan, server: Server, method: str, payload: bytes) -> Callable[[int], Row]:
    if plan.h2load:
        h2load.check_status(server.address, method, payload)
        shot = h2load.grpc_shot(server.address, method, payload)
        return lambda in_flight: h2load.run(shot, in_flight, plan.seconds, plan.cores.load)
    return lambda in_flight: measure(plan, server.address, method, in_flight, server)[0]


def _batch_caller(plan: Plan, server: Server) -> Callable[[int], Row]:
    payloads = batches(plan.prompts(), ITEMS_OF_A_BATCH)

    def take(in_flight: int) -> Row:
        if plan.h2load:
            h2load.check_status(server.address, ROUTE_BATCH, payloads[0])
            shot = h2load.grpc_shot(server.address, ROUTE_BATCH, payloads[0])
            row = h2load.run(shot, in_flight, plan.seconds, plan.cores.load)
        else:
            client = plan.connect(server.address, ROUTE_BATCH, in_flight)
            try:
                samples = closed_loop(client, payloads, in_flight, plan.seconds, warm_up_s=plan.warm_up_s)
            finally:
                client.close()
            row = summary(samples)
        return {**row, "per_second": round(row["per_second"] * ITEMS_OF_A_BATCH, 1)}

    return take


def _compared(plan: Plan, turns: dict[tuple[str, int], Turn]) -> Section:
    section = Section("ratios", "Ratios (of throughput; at 1 in flight of p50), median over the rounds", RATIO_COLUMNS)
    wanted: tuple[tuple[str, tuple[str, int], tuple[str, int], str, float | None, bool], ...] = (
        ("Route / empty handler, http2", (ROUTE_HTTP2, HIGH), (EMPTY_HTTP2, HIGH), "per_second", 0.5, True),
        ("Route: http2 / grpcio", (ROUTE_HTTP2, HIGH), (ROUTE_GRPCIO, HIGH), "per_second", 3.0, True),
        ("p50 alone: Route / empty, http2", (ROUTE_HTTP2, LONE), (EMPTY_HTTP2, LONE), "p50_us", 1.6, False),
        ("p50 alone: Route / empty, portable", (ROUTE_GRPCIO, LONE), (EMPTY_GRPCIO, LONE), "p50_us", None, False),
        ("RouteBatch items / Route, http2", (BATCH_HTTP2, 4), (ROUTE_HTTP2, HIGH), "per_second", None, True),
        ("empty handler: http2 / grpcio", (EMPTY_HTTP2, HIGH), (EMPTY_GRPCIO, HIGH), "per_second", None, True),
    )
    for subject, above, below, column, target, at_least in wanted:
        if above not in turns or below not in turns:
            section.notes.append(f"{subject}: left out, for one of the servers did not start")
            continue
        middle, lowest, highest = ratio(turns[above], turns[below], column)
        sign = ">=" if at_least else "<="
        met = target is None or (middle >= target if at_least else middle <= target)
        section.rows.append(
            {
                "subject": subject,
                "ratio": round(middle, 3),
                "lowest": round(lowest, 3),
                "highest": round(highest, 3),
                "target": None if target is None else f"{sign} {target:g}",
                "verdict": "-" if target is None else "met" if met else "MISSED",
            }
        )
    section.notes.append(f"load: {'h2load' if plan.h2load else f'{plan.client} client of this program'}")
    if not plan.h2load:
        section.notes.append(
            "without h2load the generator, not the server, may set the pace of the empty handlers: their throughput "
            "is a lower bound, and ratios over it are too good"
        )
    return section
