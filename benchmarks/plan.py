"""The settings that all sections of the benchmark share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.checkout import Checkout
from benchmarks.client import Client
from benchmarks.cores import Cores
from benchmarks.frames import FramesClient
from benchmarks.grpc_client import GrpcClient
from benchmarks.offered import SPIN_S
from benchmarks.prompts import requests, salted
from benchmarks.schedule import Seconds

MakeClient = Callable[[str, str, int], Client]  # (address, method, connections)
CLIENTS: dict[str, MakeClient] = {"frames": FramesClient, "grpc": GrpcClient}
# More in one run than any server here answers per second, so that prompts do not come again.
MOST_PER_SECOND = 12_000


@dataclass(frozen=True)
class Plan:
    """How to measure.

    Attributes:
        seconds: of each measurement.
        warm_up_s: before each.
        rounds: how often compared servers take turns.
        seed: of prompts and arrivals.
        chars: of a prompt, where its size is not the question.
        concurrency: calls in flight of the closed loop.
        rates: requests per second of the open loop.
        sizes: characters of a prompt.
        trace: arrivals of a trace, if one was given.
        trace_name: what to call it.
        connections: at most so many; fewer where fewer calls are in flight.
        client: which client makes the load.
        cores: who runs where.
        bundle: directory; None is the embedded default.
        transport: of the sidecar.
        floor_bytes: length of the empty handler's reply.
        h2load: whether ceilings are measured with h2load.
        against: another checkout to compare with.
        notes: what a reader must know; sections add to it.
    """

    seconds: float
    warm_up_s: float
    rounds: int
    seed: int
    chars: int
    concurrency: tuple[int, ...]
    rates: tuple[float, ...]
    sizes: tuple[int, ...]
    trace: Seconds | None
    trace_name: str
    connections: int
    client: str
    cores: Cores
    bundle: Path | None
    transport: str
    floor_bytes: int
    h2load: bool
    against: Checkout | None = None

    def connect(self, address: str, method: str, in_flight: int) -> Client:
        """A client for so many calls in flight."""
        return CLIENTS[self.client](address, method, max(1, min(self.connections, in_flight)))

    def prompts(self, seconds: float | None = None) -> Sequence[bytes]:
        """Serialised requests for a run of so many seconds, that were never sent before."""
        return salted(
            requests(self.chars, int((seconds or self.seconds + self.warm_up_s) * MOST_PER_SECOND), self.seed)
        )

    @property
    def spin_s(self) -> float:
        """How long the generator may spin before a call is due."""
        return 0.0 if self.cores.shared else SPIN_S
