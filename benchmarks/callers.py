"""Callers as users have them: grpc.aio, several channels, some calls in flight on each; told at the end what failed.

    python -m benchmarks.callers 127.0.0.1:8470 --channels 12 --in-flight 4 --seconds 60 --retries

A program of its own, since grpcio's threads would disturb whoever kills servers meanwhile. Each channel has a connection
of its own. Times are those of time.perf_counter(), which on Linux is one clock for all processes.
"""

import asyncio
import json
import time
from itertools import cycle
from typing import Any

import click
import grpc

from benchmarks.grpc_client import OPTIONS
from benchmarks.prompts import requests
from sidecar.lanes.services import ROUTE
from sidecar.service_config import CHANNEL_OPTIONS

DEADLINE_S = 10.0


class Callers:
    """Calls Route over and over.

    Args:
        address: HOST:PORT.
        channels: each with a connection of its own.
        in_flight: calls at a time on each.
        retries: whether the channels follow the retry policy that the sidecar ships.
        wait: whether calls wait for a connection, instead of failing while a channel pauses after a failed attempt.

    Attributes:
        calls: that have ended.
        failures: of each failed call its channel, when it began and ended, its status and what it said.
    """

    def __init__(self, address: str, channels: int, in_flight: int, *, retries: bool, wait: bool) -> None:
        options = [*OPTIONS, *(CHANNEL_OPTIONS if retries else ())]
        self._channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(channels)]
        self._in_flight = in_flight
        self._wait = wait
        self._payloads = cycle(requests(200, 2000, 1))
        self.calls = 0
        self.failures: list[dict[str, Any]] = []

    async def run(self, seconds: float) -> None:
        """Calls for so many seconds, then waits for the last replies."""
        until = time.perf_counter() + seconds
        await asyncio.gather(
            *(self._call(number, until) for number in range(len(self._channels)) for _ in range(self._in_flight))
        )
        for channel in self._channels:
            await channel.close()

    async def _call(self, number: int, until: float) -> None:
        call: Any = self._channels[number].unary_unary(ROUTE)
        while (began := time.perf_counter()) < until:
            try:
                await call(next(self._payloads), timeout=DEADLINE_S, wait_for_ready=self._wait)
            except grpc.aio.AioRpcError as error:
                ended = time.perf_counter()
                status, details = error.code().name, error.details()
                told = {"channel": number, "began": began, "ended": ended, "status": status, "details": details}
                self.failures.append(told)
            self.calls += 1


@click.command()
@click.argument("address")
@click.option("--channels", default=12, type=click.IntRange(1))
@click.option("--in-flight", default=4, type=click.IntRange(1))
@click.option("--seconds", default=60.0, type=click.FloatRange(min=0.1))
@click.option("--retries", is_flag=True)
@click.option("--wait-for-ready", "wait", is_flag=True)
def main(*, address: str, channels: int, in_flight: int, seconds: float, retries: bool, wait: bool) -> None:
    """Call Route, and print in one line of JSON how many calls there were and which failed."""

    async def run() -> Callers:
        callers = Callers(address, channels, in_flight, retries=retries, wait=wait)
        await callers.run(seconds)
        return callers

    callers = asyncio.run(run())
    print(json.dumps({"calls": callers.calls, "failures": callers.failures}))


if __name__ == "__main__":
    main()
