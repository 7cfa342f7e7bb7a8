"""Swaps the bundle of a running sidecar again and again, and prints one line of JSON for each swap.

    python -m benchmarks.swapper 127.0.0.1:8470 swap-a swap-b swap-c --swaps 200 --rollbacks 20 --pid WORKER

A program of its own, so that the order is given and its acknowledgement noted by somebody who makes no load. Times are
those of time.perf_counter(), which on Linux is one clock for all processes.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from typing import Any

import click
import grpc
import psutil

from sidecar.wire import bundle_pb2 as pb
from sidecar.wire import bundle_pb2_grpc as rpc

PATIENCE_S = 120.0
COSTS = ("gate_ms", "prepare_ms", "switch_ms", "p99_before_us", "p99_during_us")

Line = dict[str, Any]


def swapped(stub: Any, names: Sequence[str], swaps: int, seconds_between: float) -> Iterator[Line]:
    """Activates one after the other, beginning with the second; yields what each swap took."""
    for name in islice(cycle(names), 1, swaps + 1):
        time.sleep(seconds_between)
        wish = pb.ActivateBundleRequest(directory=name)
        began, reply, acknowledged = _timed(stub.ActivateBundle, wish)
        costs = {cost: getattr(reply.cost, cost) for cost in COSTS}
        told = {"kind": "swap", "to": reply.state.running.directory, "agreement": reply.comparison.agreement}
        yield {**told, "began": began, "acknowledged": acknowledged, **costs}


def rolled_back(stub: Any, rollbacks: int, seconds_between: float) -> Iterator[Line]:
    """Rolls back, and forth; yields what each took."""
    for _ in range(rollbacks):
        time.sleep(seconds_between)
        began, reply, acknowledged = _timed(stub.RollbackBundle, pb.RollbackBundleRequest())
        told = {"kind": "rollback", "to": reply.state.running.directory, "switch_ms": reply.switch_ms}
        yield {**told, "began": began, "acknowledged": acknowledged}


def _timed(call: Callable[..., Any], wish: Any) -> tuple[float, Any, float]:
    began = time.perf_counter()
    reply = call(wish, timeout=PATIENCE_S)
    return began, reply, time.perf_counter()


@click.command()
@click.argument("address")
@click.argument("names", nargs=-1, required=True)
@click.option("--swaps", default=200, type=click.IntRange(1))
@click.option("--rollbacks", default=20, type=click.IntRange(0))
@click.option("--seconds-between", default=0.3, type=click.FloatRange(min=0))
@click.option("--pid", "worker", type=int, required=True, help="Whose resident memory is told.")
def main(
    *, address: str, names: tuple[str, ...], swaps: int, rollbacks: int, seconds_between: float, worker: int
) -> None:
    """Swap from each to the next; the first of the NAMES is what runs at the beginning."""
    process = psutil.Process(worker)
    with grpc.insecure_channel(address) as channel:
        stub = rpc.BundleServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        for lines in (swapped(stub, names, swaps, seconds_between), rolled_back(stub, rollbacks, seconds_between)):
            for line in lines:
                print(json.dumps({**line, "resident_mb": process.memory_info().rss / 1e6}), flush=True)
        time.sleep(seconds_between)


if __name__ == "__main__":
    main()
