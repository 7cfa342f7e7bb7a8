"""What the score cache contributed to a measurement: nothing, since prompts are salted, but where that is the question."""

from statistics import median
from typing import NamedTuple

import grpc

from benchmarks.closed import measure_with
from benchmarks.plan import Plan
from benchmarks.report import Section
from benchmarks.samples import Row
from benchmarks.server import ServerFault
from benchmarks.stages import decode, stages
from sidecar.lanes.services import ROUTE
from sidecar.wire import router_pb2 as pb
from sidecar.wire import router_pb2_grpc as rpc

RPC_S = 10.0
COLUMNS = ("subject", "in_flight", "per_second", "p50_us", "p99_us", "tokenize_p50_us", "score_p50_us", "total_p50_us",
           "cached_share", "errors")  # fmt: skip
MEDIANS = ("per_second", "p50_us", "p99_us", "tokenize_p50_us", "score_p50_us", "total_p50_us", "cached_share")


class Lookups(NamedTuple):
    """Of all workers since the start; what other workers did is a second or two old."""

    hits: int
    misses: int


def info(address: str) -> pb.InfoResponse:
    """What the sidecar says of itself.

    Raises:
        ServerFault: nobody answers there.
    """
    with grpc.insecure_channel(address) as channel:
        try:
            found: pb.InfoResponse = rpc.RouterServiceStub(channel).Info(  # type: ignore[no-untyped-call]  # generated
                pb.InfoRequest(), timeout=RPC_S
            )
        except grpc.RpcError as error:
            raise ServerFault(f"{address}: Info answers {error.code().name}; is it a sidecar?") from None
    return found


def lookups(address: str) -> Lookups:
    """What its score cache was asked so far."""
    counters = info(address).counters
    return Lookups(counters.cache_hits, counters.cache_misses)


def told(before: Lookups, after: Lookups) -> str:
    """The hit ratio between two readings, in words."""
    hits, misses = after.hits - before.hits, after.misses - before.misses
    if not hits + misses:
        return "score cache: not asked"
    return f"score cache: {hits / (hits + misses):.2%} hits of {hits + misses:,} lookups (by Info)"


def hit_or_miss(plan: Plan, target: str) -> Section:
    """One call in flight: texts that the score cache knows beside texts that it does not, in turn."""
    section = Section("cache", f"Score cache, {plan.chars} characters, medians over {plan.rounds} rounds", COLUMNS)
    found: dict[str, list[Row]] = {"miss": [], "hit": []}
    for number in range(plan.rounds):
        for subject in ("miss", "hit") if number % 2 == 0 else ("hit", "miss"):
            payloads = plan.prompts()
            row, samples = measure_with(plan, target, ROUTE, 1, None, payloads[:1] if subject == "hit" else payloads)
            found[subject].append({**row, **stages(decode(samples))})
    for subject, rows in found.items():
        known = {name: [row[name] for row in rows if row[name] is not None] for name in MEDIANS}
        middle = {name: median(values) if values else None for name, values in known.items()}  # few calls have no p99
        errors: dict[str, int] = {}
        for row in rows:
            for name, count in row["errors"].items():
                errors[name] = errors.get(name, 0) + count
        section.rows.append({"subject": subject, "in_flight": 1, **middle, "errors": errors})
    miss, hit = section.rows
    spent, saved = (row["tokenize_p50_us"] + row["score_p50_us"] for row in (miss, hit))
    section.notes.append(
        f"a hit takes {saved:.0f} us in the place of tokenizer and model, a miss {spent:.0f} us; at the client p50 is "
        f"{hit['p50_us'] / miss['p50_us']:.2f}x that of a miss"
    )
    return section
