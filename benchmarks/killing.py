"""What do callers notice when a process of the sidecar is killed every second?"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from itertools import count
from statistics import median
from typing import Any, NamedTuple

import grpc
import psutil

from benchmarks.report import Section
from benchmarks.samples import Row
from benchmarks.server import ROOT, Server, ServerFault, sidecar_command
from benchmarks.verdict import COLUMNS as VERDICT_COLUMNS
from benchmarks.verdict import at_most, verdict
from sidecar.wire import bundle_pb2 as pb
from sidecar.wire import bundle_pb2_grpc as rpc

WORKERS = 3
CHANNELS, IN_FLIGHT = 12, 4
BETWEEN_S = 1.0
WARM_UP_S = 1.0
DEAD_S = 10.0
BACK_S = 30.0
CONTROL = "sidecar.control.process"
RETRIES = "with the shipped retry policy"
CALLERS: dict[str, Sequence[str]] = {
    "without retries": (),
    "without retries, wait_for_ready": ("--wait-for-ready",),
    RETRIES: ("--retries",),
}
KILL_COLUMNS = ("subject", "calls", "kills", "in_flight_at_most", "errors")


class Kill(NamedTuple):
    """One process that was killed.

    Attributes:
        at: when.
        dead: when the system had closed all that it had open.
        connections: callers' connections that it had.
    """

    at: float
    dead: float
    connections: int


class Judged(NamedTuple):
    """Failed calls beside the kills.

    Attributes:
        at_most: calls that can have been in flight on the killed workers, as callers keep so many on a connection.
        explained: failed calls that were in flight when a worker died.
        unexplained: the others.
        beyond: failed calls of channels beyond those that the killed worker had.
    """

    at_most: int
    explained: int
    unexplained: int
    beyond: int


def judged(kills: Sequence[Kill], failures: Sequence[dict[str, Any]], in_flight: int) -> Judged:
    """Which failed calls a kill explains.

    Args:
        kills: in order.
        failures: see benchmarks.callers.
        in_flight: calls at a time on each connection.
    """
    explained = beyond = 0
    for kill in kills:
        hit = [failure for failure in failures if failure["began"] <= kill.dead and failure["ended"] >= kill.at]
        explained += len(hit)
        by_channel = Counter(failure["channel"] for failure in hit).most_common()
        beyond += sum(count for _, count in by_channel[kill.connections :])
    at_most_so_many = sum(kill.connections for kill in kills) * in_flight
    return Judged(at_most_so_many, explained, len(failures) - explained, beyond)


def workers(seconds: float) -> list[Section]:
    """One of three workers is killed every second, with callers of three kinds."""
    table = Section("kill", f"SIGKILL of one of {WORKERS} workers every second, {seconds:g} s", KILL_COLUMNS)
    targets = Section("kill_verdicts", "Targets", VERDICT_COLUMNS)
    for subject, options in CALLERS.items():
        with Server([*sidecar_command(None), "--workers", str(WORKERS)], None) as server:
            told, kills = _under_calls(server, seconds, partial(_kill_in_turn, server, count()), options)
        failures = told["failures"]
        found = judged(kills, failures, IN_FLIGHT)
        counts = Counter(failure["status"] for failure in failures)
        table.rows.append(
            {
                "subject": subject, "calls": told["calls"], "kills": len(kills),
                "in_flight_at_most": found.at_most, "errors": dict(counts), **found._asdict(),
            }
        )  # fmt: skip
        if subject == RETRIES:
            targets.rows.append(verdict(f"failed calls {subject}, of {told['calls']:,}", len(failures), at_most(0)))
        else:
            failed = f"failed calls {subject}"
            targets.rows += [
                verdict(
                    f"{failed}, beyond those in flight on the killed worker",
                    found.unexplained + found.beyond,
                    at_most(0),
                ),
                verdict(f"{failed}, all", len(failures), at_most(found.at_most)),
            ]
    table.notes.append(
        f"{CHANNELS} channels of grpc.aio with {IN_FLIGHT} calls in flight on each; in flight at most: the killed workers' "
        f"connections, times {IN_FLIGHT}; the next worker is killed when all {WORKERS} serve again, and a second has passed"
    )
    table.notes.append(
        "a failed call was in flight if it began before the system had closed what the killed worker had open, and ended "
        "after the kill, and if no more channels failed at that kill than the worker had connections"
    )
    return [table, targets]


def control(seconds: float) -> list[Section]:
    """The control process is killed a second after BundleService answers again, over and over."""
    section = Section("control", f"SIGKILL of the control process every second, {seconds:g} s", VERDICT_COLUMNS)
    with Server([*sidecar_command(None), "--workers", "1"], None) as server:
        back: list[float] = []

        def strike() -> Kill:
            kill = _kill(next(child for child in server.watched.children() if CONTROL in child.cmdline()))
            back.append(_answers_again(server.address) - kill.at)
            return kill

        told, kills = _under_calls(server, seconds, strike, ())
    counts = Counter(failure["status"] for failure in told["failures"])
    section.rows += [
        verdict(f"failed Route calls, of {told['calls']:,}, without retries", len(told["failures"]), at_most(0)),
        verdict(f"{len(kills)} kills: ms until BundleService answers again, median", round(median(back) * 1e3), ""),
        verdict("- longest", round(max(back) * 1e3), ""),
    ]
    section.notes += [f"failed: {dict(counts)}"] if counts else []
    return [section]


def _under_calls(
    server: Server, seconds: float, strike: Callable[[], Kill], options: Sequence[str]
) -> tuple[Row, list[Kill]]:
    """Strikes every second while callers call; gives what the callers tell, and the kills."""
    command = [sys.executable, "-m", "benchmarks.callers", server.address, "--channels", str(CHANNELS)]
    command += ["--in-flight", str(IN_FLIGHT), "--seconds", str(seconds + 2 * WARM_UP_S)]
    callers = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, cwd=ROOT)
    try:
        _await_connections(server)
        time.sleep(WARM_UP_S)
        kills, until = [], time.perf_counter() + seconds
        while time.perf_counter() < until - BETWEEN_S:
            kills.append(strike())
            time.sleep(BETWEEN_S)
        told, _ = callers.communicate(timeout=seconds + 60)
    finally:
        callers.kill()
    if callers.returncode:
        raise ServerFault("the callers failed; the output above says why.")
    return json.loads(told), kills


def _await_connections(server: Server) -> None:
    """Returns when all channels are connected."""
    until = time.perf_counter() + DEAD_S
    while sum(_connections(worker) for worker in server.workers()) < CHANNELS:
        if time.perf_counter() > until:
            raise ServerFault("the callers do not connect.")
        time.sleep(0.05)


def _connections(process: psutil.Process) -> int:
    return sum(connection.status == psutil.CONN_ESTABLISHED for connection in process.net_connections("tcp"))


def _kill_in_turn(server: Server, turns: Iterator[int]) -> Kill:
    return _kill(_next_worker(server, next(turns)))


def _next_worker(server: Server, turn: int) -> psutil.Process:
    """The workers in turn, once all of them serve: one of three is killed, never the only one that is left.

    A worker inherits a socket that listens already, so that it listens does not tell. What tells is that it takes
    connections: new ones go to the worker with the fewest, so a few of them find each worker that serves.
    """
    host, _, port = server.address.rpartition(":")
    until = time.perf_counter() + BACK_S
    with ExitStack() as probes:
        while time.perf_counter() < until:
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                serving = {int(worker.cmdline()[4]): worker for worker in server.workers() if _connections(worker)}
                if len(serving) == WORKERS:
                    return serving[turn % WORKERS]
                probes.enter_context(socket.create_connection((host, int(port)), timeout=BACK_S))
            time.sleep(0.05)
    raise ServerFault("a killed worker did not come back.")


def _kill(process: psutil.Process) -> Kill:
    over = os.pidfd_open(process.pid)
    try:
        connections = _connections(process)
        at = time.perf_counter()
        process.send_signal(signal.SIGKILL)
        if not select.select([over], [], [], DEAD_S)[0]:
            raise ServerFault(f"process {process.pid} does not die.")
        return Kill(at, time.perf_counter(), connections)
    finally:
        os.close(over)


def _answers_again(address: str) -> float:
    """When the control process answered a call again."""
    until = time.perf_counter() + BACK_S
    with grpc.insecure_channel(address) as channel:
        stub = rpc.BundleServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        while True:
            try:
                stub.ListBundles(pb.ListBundlesRequest(), timeout=BACK_S)
                return time.perf_counter()
            except grpc.RpcError:
                if time.perf_counter() > until:
                    raise ServerFault("BundleService did not come back.") from None
                time.sleep(0.02)
