"""What the replies themselves say: where the server's time went, how many shared a batch, how many were degraded."""

from collections.abc import Sequence

import numpy as np

from benchmarks.client import OK
from benchmarks.samples import Row, Samples, microseconds, percentile
from benchmarks.schedule import Seconds
from sidecar.wire import router_pb2 as pb

STAGES = ("intake", "queue", "tokenize", "score", "decide", "total")


def decode(samples: Samples) -> list[pb.RouteResponse]:
    """The good replies to Route."""
    return [
        pb.RouteResponse.FromString(body)
        for body, status in zip(samples.bodies, samples.status.tolist(), strict=True)
        if status == OK
    ]


def stages(replies: Sequence[pb.RouteResponse]) -> Row:
    """p50 and p99 of each stage in microseconds, the mean batch size, the shares of degraded and of cached replies."""
    row: Row = {}
    timings = [reply.timings for reply in replies]
    for stage in STAGES:
        spent = np.array([getattr(timing, f"{stage}_us") for timing in timings], dtype=np.float64) / 1e6
        of_stage = microseconds(spent, f"{stage}_")
        row |= {name: of_stage[name] for name in (f"{stage}_p50_us", f"{stage}_p99_us")}
    sizes = np.array([timing.batch_size for timing in timings], dtype=np.float64)
    # Each of the b requests of a batch says b, so the mean over batches is the harmonic mean over requests.
    row["mean_batch"] = round(len(sizes) / float((1 / np.maximum(sizes, 1)).sum()), 2) if len(sizes) else None
    degraded = sum(pb.REASON_DEGRADED in reply.reasons for reply in replies)
    row["degraded_share"] = round(degraded / len(replies), 6) if replies else None
    row["coverage"] = round(1 - degraded / len(replies), 6) if replies else None
    row["cached_share"] = round(sum(t.cached for t in timings) / len(timings), 6) if timings else None
    return row


def waiting_s(samples: Samples, replies: Sequence[pb.RouteResponse]) -> Seconds:
    """[G] of the G good replies: all time, from the real send on, in which nobody worked on the request.

    That is the call's time at the client less what the server's stages did, so it holds the server's queue, the transport,
    the kernel and both ways of the wire.
    """
    at_client = np.extract(samples.status == OK, samples.on_wire_s)
    working = np.array([reply.timings.total_us - reply.timings.queue_us for reply in replies], dtype=np.float64) / 1e6
    return np.subtract(at_client, working)


def queueing_s(waiting: Seconds, unloaded_s: float) -> float | None:
    """p99 of the waiting beyond that of an unloaded call: bounds all queueing from outside."""
    return percentile(np.maximum(waiting - unloaded_s, 0.0), 0.99)
