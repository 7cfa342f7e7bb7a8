"""Drives a server with h2load (Debian package nghttp2-client): a load generator in C, for the ceiling.

It sends one payload over and over and counts any HTTP 200 as a success, so the gRPC status is checked by a call of its
own before each run.
"""

import re
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.client import OK, code_name
from benchmarks.cores import pinned
from benchmarks.frames import FramesClient
from benchmarks.samples import Row, microseconds

ABSENT = "h2load is not installed (Debian: apt-get install nghttp2-client); its rows are left out."
GRPC = ("-H", "content-type: application/grpc", "-H", "te: trailers")
CONNECTIONS = 8
WARM_UP_S = 1
# h2load writes a line for each call: status and duration are its second and third column.
STATUS, MICROSECONDS = 1, 2


class H2loadFault(RuntimeError):
    """h2load did not run, or the server answered with an error."""


@dataclass(frozen=True)
class Shot:
    """What h2load is to send.

    Attributes:
        url: with scheme, host, port and path.
        body: the bytes of one request.
        arguments: further options, such as headers or `--h1`.
    """

    url: str
    body: bytes
    arguments: Sequence[str] = ()


def available() -> bool:
    """Whether h2load can be had."""
    return shutil.which("h2load") is not None


def grpc_shot(address: str, method: str, payload: bytes) -> Shot:
    """A unary gRPC call."""
    return Shot(f"http://{address}{method}", b"\0" + struct.pack(">I", len(payload)) + payload, GRPC)


def check_status(address: str, method: str, payload: bytes) -> bytes:
    """Makes one real call; gives the reply.

    Raises:
        H2loadFault: the gRPC status is not OK, or there is no answer within ten seconds.
    """
    client = FramesClient(address, method)
    try:
        client.send(payload, 0)
        until = time.perf_counter() + 10.0
        while time.perf_counter() < until:
            for reply in client.wait(0.1):
                if reply.status != OK:
                    raise H2loadFault(f"{method} answers {code_name(reply.status)}; there is nothing to measure.")
                return reply.body
    finally:
        client.close()
    raise H2loadFault(f"{method} at {address} does not answer.")


def run(shot: Shot, in_flight: int, seconds: float, core: int | None, connections: int = CONNECTIONS) -> Row:
    """Keeps calls in flight; gives throughput and percentiles.

    Raises:
        H2loadFault: h2load is absent or failed, or a call did not end with HTTP 200.
    """
    if not available():
        raise H2loadFault(ABSENT)
    connections = min(connections, in_flight)
    with tempfile.TemporaryDirectory() as folder:
        body, log = Path(folder, "body"), Path(folder, "log")
        body.write_bytes(shot.body)
        command = [
            "h2load", "-t1", "-c", str(connections), "-m", str(max(1, in_flight // connections)),
            "-D", str(max(1, round(seconds))), "--warm-up-time", str(WARM_UP_S), "--log-file", str(log),
            "-d", str(body), *shot.arguments, shot.url,
        ]  # fmt: skip
        try:
            with pinned(core):
                got = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 60)
        except subprocess.TimeoutExpired:
            raise H2loadFault(f"h2load did not end: {shot.url}") from None
        if got.returncode:
            raise H2loadFault(f"h2load failed: {(got.stderr or got.stdout).strip()[-300:]}")
        return parse(got.stdout, log.read_text(encoding="ascii") if log.is_file() else "")


def parse(output: str, log: str) -> Row:
    """Throughput from what h2load prints, percentiles from its log.

    Raises:
        H2loadFault: the output is not understood, or calls failed.
    """
    rate = re.search(r"([\d.]+) req/s", output)
    counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", output)
    if not rate or not counts:
        raise H2loadFault(f"the output of h2load is not understood: {output.strip()[-300:]}")
    good, *bad = (int(count) for count in counts.groups())
    if not good:
        raise H2loadFault("not one call succeeded.")
    lines = [line.split("\t") for line in log.splitlines()]
    times = np.array([int(line[MICROSECONDS]) for line in lines if line[STATUS] == "200"], dtype=np.float64) / 1e6
    errors = dict(zip(("failed", "errored", "timeout"), bad, strict=True))
    return {
        "calls": good,
        "per_second": float(rate.group(1)),
        **microseconds(times),
        "errors": {name: count for name, count in errors.items() if count},
    }
