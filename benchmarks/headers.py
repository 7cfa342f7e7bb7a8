"""What do header blocks cost that are new with every call?

Go's client enters another grpc-timeout into the table of the connection with each call, so no block comes twice, and its
other fields leave the table and enter it again. Judged is the processor time of a call in the server, since the encoder
here has its part in the throughput.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import click

from benchmarks.floor import METHOD, command
from benchmarks.frames import FramesClient
from benchmarks.go_headers import GoConnection, new_timeouts, steady_timeouts
from benchmarks.offered import closed_loop
from benchmarks.plan import Plan
from benchmarks.ratios import Turn, alternate, ratio
from benchmarks.report import Section
from benchmarks.samples import Row, summary
from benchmarks.server import UNCACHED, Server, sidecar_command
from benchmarks.verdict import COLUMNS as VERDICT_COLUMNS
from benchmarks.verdict import at_most, verdict
from sidecar.lanes.services import ROUTE

IN_FLIGHT = 64
STEADY, NEW = "the same block each time", "another grpc-timeout each time"
BLOCKS = {STEADY: steady_timeouts, NEW: new_timeouts}
COLUMNS = ("subject", "in_flight", "per_second", "p50_us", "p99_us", "server_us_per_call", "errors", "rounds")
TARGET = at_most(1.1)


def headers(plan: Plan) -> list[Section]:
    """The table of figures, and the ratios of new blocks to steady ones."""
    table = Section("headers", f"Header blocks of Go's client, {IN_FLIGHT} in flight, medians over the rounds", COLUMNS)
    ratios = Section(
        "header_ratios", "Processor time of a call in the server, new blocks over steady ones", VERDICT_COLUMNS
    )
    with ExitStack() as running:
        turns: dict[tuple[str, str], Turn] = {}
        for subject, method, line in (
            ("Route", ROUTE, sidecar_command(plan.bundle, "http2", UNCACHED)),
            ("empty handler", METHOD, command("http2", plan.floor_bytes)),
        ):
            server = running.enter_context(Server(line, plan.cores.server))
            for name, timeouts in BLOCKS.items():
                take = partial(_take, plan, server, method, timeouts)
                turns[subject, name] = Turn(f"{subject}, {name}", IN_FLIGHT, take)
        alternate(list(turns.values()), plan.rounds, lambda line: click.echo(f"  {line}", err=True))
    table.rows += [turn.row() for turn in turns.values()]
    for subject in ("Route", "empty handler"):
        new, steady = turns[subject, NEW], turns[subject, STEADY]
        middle, lowest, highest = ratio(new, steady, "server_us_per_call")
        row = verdict(f"{subject}: {NEW} / {STEADY}", round(middle, 3), TARGET)
        ratios.rows.append({**row, "lowest": round(lowest, 3), "highest": round(highest, 3)})
    return [table, ratios]


def _take(plan: Plan, server: Server, method: str, timeouts: Callable[[], Iterator[str]]) -> Row:
    connect = partial(GoConnection, timeouts=timeouts)
    client = FramesClient(server.address, method, plan.connections, connect=connect)
    payloads = plan.prompts()
    try:
        closed_loop(client, payloads, IN_FLIGHT, plan.warm_up_s, warm_up_s=0.0)
        busy = server.cpu_s()
        samples = closed_loop(client, payloads, IN_FLIGHT, plan.seconds, warm_up_s=0.0)
        spent = server.cpu_s() - busy
    finally:
        client.close()
    return {**summary(samples), "server_us_per_call": spent / max(1, len(samples.status)) * 1e6}
