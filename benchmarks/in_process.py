"""What does the scoring path cost without any transport: from a request's bytes to its reply's bytes?"""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.cores import pinned
from benchmarks.plan import Plan
from benchmarks.prompts import requests, salted
from benchmarks.report import Section
from benchmarks.samples import Row, microseconds
from benchmarks.stages import STAGES, stages
from sidecar.config import Config
from sidecar.lanes.services import ROUTE, RouterServices
from sidecar.server import Server
from sidecar.wire import router_pb2 as pb

COLUMNS = (
    "subject", "p50_us", "p90_us", "p99_us", "p99.9_us", "per_request_us",
    *(f"{stage}_p50_us" for stage in STAGES), "cached_share", "errors",
)  # fmt: skip
CALLS = 3000
BATCHES = (1, 8, 32)
WARM_UP = 300
TARGET_US, TARGET_EACH_US = 150.0, 45.0
SHORT = 3


def in_process(plan: Plan) -> Section:
    """Single requests and batches, on the server's core, in this process."""
    section = Section("in_process", f"Scoring path without transport, {plan.chars} characters", COLUMNS)
    config = Config(bundle=str(plan.bundle) if plan.bundle else "", transport="grpcio")
    payloads = requests(plan.chars, CALLS + WARM_UP, plan.seed)
    with pinned(plan.cores.server):
        services = Server(config).services  # the same path that a transport drives, without the transport
        for size in BATCHES:
            section.rows.append(_measure(services, salted(payloads), size, f"batch of {size}"))
        # Pieces of one message may stand one after the other.
        short = [payload + pb.RouteRequest(ranking_limit=SHORT).SerializeToString() for payload in salted(payloads)]
        section.rows.append(_measure(services, short, BATCHES[-1], f"batch of {BATCHES[-1]}, ranking of {SHORT}"))
    alone, each = section.rows[0]["p50_us"], section.rows[len(BATCHES) - 1]["per_request_us"]
    section.notes.append(f"parse to reply handed over, p50 {alone} us for one request (target <= {TARGET_US:g} us)")
    section.notes.append(f"in batches of {BATCHES[-1]}, {each} us for each (target <= {TARGET_EACH_US:g} us)")
    return section


def _measure(services: RouterServices, payloads: Sequence[bytes], size: int, subject: str) -> Row:
    take, caller = services.unary[ROUTE].take, _Patient()
    replies: list[Any] = []
    deliver = _into(replies)
    clock = time.perf_counter
    spent: list[float] = []
    for start in range(0, len(payloads) - size + 1, size):
        began = clock()
        for payload in payloads[start : start + size]:
            take(payload, deliver, None, caller)
        services.flush()
        spent.append(clock() - began)
    counted = np.array(spent[WARM_UP // size :])
    good = [pb.RouteResponse.FromString(reply) for reply in replies[WARM_UP:] if isinstance(reply, bytes)]
    refused = len(replies[WARM_UP:]) - len(good)
    return {
        "subject": subject,
        **microseconds(counted),
        "per_request_us": round(float(np.median(counted)) / size * 1e6, 1),
        **stages(good),
        "errors": {"refused": refused} if refused else {},
    }


class _Patient:
    """A caller that waits for as long as it takes."""

    gone = False
    expires = math.inf

    def must_wait(self) -> None:
        """It is there anyway."""

    def waker(self) -> Callable[[], None]:
        """The caller flushes by itself."""
        return lambda: None

    def resume(self, then: Callable[[], None]) -> Callable[[], None]:
        return then


def _into(replies: list[Any]) -> Any:
    return lambda _key, reply: replies.append(reply)
