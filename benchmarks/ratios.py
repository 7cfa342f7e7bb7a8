"""How much of what the transport can do is left when every call is really routed?

The machine drifts by more than the differences that matter, so the servers live side by side and take turns, in one
order and then in the other; the ratios are medians over the rounds.
"""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

import click

from benchmarks import h2load
from benchmarks.closed import measure
from benchmarks.floor import METHOD, command
from benchmarks.offered import closed_loop
from benchmarks.plan import Plan
from benchmarks.prompts import batches
from benchmarks.report import Section
from benchmarks.samples import Row, summary
from benchmarks.server import ROOT, UNCACHED, Server, ServerFault, sidecar_command
from benchmarks.tls import check_status, secure_shot, secured
from benchmarks.verdict import at_least, at_most, verdict
from sidecar.lanes.services import ROUTE, ROUTE_BATCH

HIGH, LONE = 64, 1
ITEMS_OF_A_BATCH = 32
ROUTE_HTTP2, ROUTE_GRPCIO, ROUTE_OTHER = "Route, http2", "Route, grpcio", "Route, other checkout"
ROUTE_TLS, BATCH_HTTP2 = "Route, http2, TLS", "RouteBatch, http2 (items)"
EMPTY_HTTP2, EMPTY_GRPCIO = "empty handler, http2", "empty handler, grpcio"
EMPTY_OTHER = "empty handler, other checkout"
COLUMNS = ("subject", "in_flight", "per_second", "p50_us", "p99_us", "server_us_per_call", "errors", "rounds")
FIGURES = ("per_second", "p50_us", "p99_us", "server_us_per_call")
RATIO_COLUMNS = ("subject", "ratio", "lowest", "highest", "target", "verdict")


Add = Callable[[str, tuple[int, ...], Callable[[int], Row]], None]  # (subject, calls in flight, how to measure)


class Comparison(NamedTuple):
    """A ratio that is asked for.

    Attributes:
        subject: for the table.
        above: whose figure is divided, as subject and calls in flight.
        below: by whose.
        column: of the figure.
        target: see benchmarks.verdict.
    """

    subject: str
    above: tuple[str, int]
    below: tuple[str, int]
    column: str
    target: str = ""


COMPARISONS = (
    Comparison("empty handler: http2 / grpcio", (EMPTY_HTTP2, HIGH), (EMPTY_GRPCIO, HIGH), "per_second", at_least(15)),
    Comparison(
        "empty handler: http2 / other checkout", (EMPTY_HTTP2, HIGH), (EMPTY_OTHER, HIGH), "per_second", at_least(3)
    ),
    Comparison("Route: http2 / other checkout", (ROUTE_HTTP2, HIGH), (ROUTE_OTHER, HIGH), "per_second", at_least(1.6)),
    Comparison("Route: http2 / grpcio", (ROUTE_HTTP2, HIGH), (ROUTE_GRPCIO, HIGH), "per_second", at_least(3)),
    Comparison("Route: TLS / plain text", (ROUTE_TLS, HIGH), (ROUTE_HTTP2, HIGH), "per_second", at_least(0.8)),
    Comparison("Route / empty handler, http2", (ROUTE_HTTP2, HIGH), (EMPTY_HTTP2, HIGH), "per_second"),
    Comparison(
        "p50 alone: Route, http2 / other checkout", (ROUTE_HTTP2, LONE), (ROUTE_OTHER, LONE), "p50_us", at_most(0.65)
    ),
    Comparison("p50 alone: Route / empty, http2", (ROUTE_HTTP2, LONE), (EMPTY_HTTP2, LONE), "p50_us"),
    Comparison("p50 alone: Route / empty, grpcio", (ROUTE_GRPCIO, LONE), (EMPTY_GRPCIO, LONE), "p50_us"),
    Comparison("RouteBatch items / Route, http2", (BATCH_HTTP2, 4), (ROUTE_HTTP2, HIGH), "per_second"),
)


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
        middle = {column: round(median(values), 1) for column in FIGURES if (values := self.values(column))}
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
    """Servers beside each other: empty handlers, the whole job, over TLS, and those of another checkout if one is given."""
    table = Section("ratio_rounds", f"Servers in turn, {plan.chars} characters, medians over the rounds", COLUMNS)
    with ExitStack() as running:
        turns: dict[tuple[str, int], Turn] = {}

        def add(subject: str, levels: tuple[int, ...], take: Callable[[int], Row]) -> None:
            for in_flight in levels:
                turns[subject, in_flight] = Turn(subject, in_flight, partial(take, in_flight))

        for start in (_routing, _empty, _secure):
            start(plan, running, add, table.notes)
        alternate(list(turns.values()), plan.rounds, lambda line: click.echo(f"  {line}", err=True))
    table.notes.append("without a score cache, since h2load sends one prompt over and over")
    table.rows += [turn.row() for turn in turns.values()]
    return [table, _compared(plan, turns)]


def _routing(plan: Plan, running: ExitStack, add: Add, notes: list[str]) -> None:
    """Starts the sidecars."""
    commands = [(ROUTE_HTTP2, sidecar_command(plan.bundle, "http2", UNCACHED), ROOT)]
    commands.append((ROUTE_GRPCIO, sidecar_command(plan.bundle, "grpcio", UNCACHED), ROOT))
    if plan.against:
        commands.append((ROUTE_OTHER, plan.against.sidecar(plan.bundle), plan.against.root))
    for subject, line, root in commands:
        try:
            server = running.enter_context(Server(line, plan.cores.server, root=root))
        except ServerFault as fault:
            notes.append(str(fault))
            continue
        add(subject, (HIGH, LONE), _caller(plan, server, ROUTE, plan.prompts()[0]))
        if subject == ROUTE_HTTP2:
            add(BATCH_HTTP2, (4,), _batch_caller(plan, server))


def _empty(plan: Plan, running: ExitStack, add: Add, _notes: list[str]) -> None:
    """Starts the empty handlers."""
    commands = [(EMPTY_HTTP2, command("http2", plan.floor_bytes), ROOT)]
    commands.append((EMPTY_GRPCIO, command("grpcio", plan.floor_bytes), ROOT))
    if plan.against:
        commands.append((EMPTY_OTHER, plan.against.floor(plan.floor_bytes), plan.against.root))
    for subject, line, root in commands:
        floor = running.enter_context(Server(line, plan.cores.server, root=root))
        add(subject, (HIGH, LONE), _caller(plan, floor, METHOD, plan.prompts()[0]))


def _secure(plan: Plan, running: ExitStack, add: Add, notes: list[str]) -> None:
    """Starts a sidecar with TLS."""
    if not plan.h2load:
        notes.append("TLS is left out: it is measured with h2load only")
        return
    made = secured(Path(running.enter_context(tempfile.TemporaryDirectory())))
    line = sidecar_command(plan.bundle, "http2", made.config)
    server = running.enter_context(Server(line, plan.cores.server, authority=made.authority))
    payload = plan.prompts()[0]
    check_status(server.address, ROUTE, payload, made.authority)
    shot = secure_shot(server.address, ROUTE, payload)
    add(ROUTE_TLS, (HIGH,), lambda in_flight: _drive(plan, server, shot, in_flight))


def _caller(plan: Plan, server: Server, method: str, payload: bytes) -> Callable[[int], Row]:
    if plan.h2load:
        h2load.check_status(server.address, method, payload)
        shot = h2load.grpc_shot(server.address, method, payload)
        return lambda in_flight: _drive(plan, server, shot, in_flight)
    return lambda in_flight: measure(plan, server.address, method, in_flight, server)[0]


def _drive(plan: Plan, server: Server, shot: h2load.Shot, in_flight: int) -> Row:
    """A run of h2load, and the processor time of a call in the server's processes, the kernel's part included."""
    busy = server.cpu_s()
    row = h2load.run(shot, in_flight, plan.seconds, plan.cores.load)
    spent = server.cpu_s() - busy
    whole_s = max(1, round(plan.seconds)) + h2load.WARM_UP_S
    return {**row, "server_us_per_call": spent / (row["per_second"] * whole_s) * 1e6}


def _batch_caller(plan: Plan, server: Server) -> Callable[[int], Row]:
    payloads = batches(plan.prompts(), ITEMS_OF_A_BATCH)

    def take(in_flight: int) -> Row:
        if plan.h2load:
            h2load.check_status(server.address, ROUTE_BATCH, payloads[0])
            shot = h2load.grpc_shot(server.address, ROUTE_BATCH, payloads[0])
            row = _drive(plan, server, shot, in_flight)
            row["server_us_per_call"] /= ITEMS_OF_A_BATCH
        else:
            client = plan.connect(server.address, ROUTE_BATCH, in_flight)
            try:
                samples = closed_loop(client, payloads, in_flight, plan.seconds, warm_up_s=plan.warm_up_s)
            finally:
                client.close()
            row = summary(samples)
        return {**row, "per_second": round(row["per_second"] * ITEMS_OF_A_BATCH, 1)}

    return take


def compared(turns: dict[tuple[str, int], Turn], *, another: bool) -> tuple[list[Row], list[str]]:
    """The rows of all comparisons whose servers ran, and notes on the others.

    Args:
        turns: by subject and calls in flight.
        another: whether another checkout was asked for.
    """
    rows: list[Row] = []
    notes: list[str] = []
    for subject, above, below, column, target in COMPARISONS:
        if above in turns and below in turns:
            middle, lowest, highest = ratio(turns[above], turns[below], column)
            row = verdict(subject, round(middle, 3), target)
            rows.append({**row, "ratio": row["value"], "lowest": round(lowest, 3), "highest": round(highest, 3)})
        elif another or below not in ((ROUTE_OTHER, HIGH), (ROUTE_OTHER, LONE), (EMPTY_OTHER, HIGH)):
            notes.append(f"{subject}: left out, for one of the servers did not run")
    return rows, notes


def _compared(plan: Plan, turns: dict[tuple[str, int], Turn]) -> Section:
    section = Section("ratios", "Ratios (of throughput; at 1 in flight of p50), median over the rounds", RATIO_COLUMNS)
    section.rows, section.notes = compared(turns, another=plan.against is not None)
    section.notes.append(f"load: {'h2load' if plan.h2load else f'{plan.client} client of this program'}")
    if not plan.h2load:
        section.notes.append(
            "without h2load the generator, not the server, may set the pace of the empty handlers: their throughput "
            "is a lower bound, and ratios over it are too good"
        )
    return section
