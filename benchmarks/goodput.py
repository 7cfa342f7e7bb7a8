"""What became of calls that had a deadline: in time and scored, answered otherwise, refused, late."""

import numpy as np

from benchmarks.client import DEADLINE_EXCEEDED, OK, code_name
from benchmarks.frames import FramesClient
from benchmarks.offered import open_loop
from benchmarks.samples import Row, Samples, lag, percentile
from benchmarks.stages import decode
from sidecar.lanes.services import ROUTE
from sidecar.wire import router_pb2 as pb

RESOURCE_EXHAUSTED = 8
RECOVERY_S = 60.0
LEGEND = (
    "goodput: answered within the deadline and scored; coverage: scored of all offered, and of all answered; sent: from "
    "when the headers were written, due: from when the call was due, both of good calls; late: DEADLINE_EXCEEDED at the "
    "client; rejected: RESOURCE_EXHAUSTED; degraded: answered by the safe candidate; recovery: time of one call without "
    "deadline, sent when the last call of the run had ended"
)


def judged(run: Samples, deadline_s: float) -> Row:
    """The columns of one run.

    Args:
        run: of calls to Route.
        deadline_s: of every call, from when it was handed to the client.
    """
    answered = run.status == OK
    scored = np.zeros(len(answered), np.bool_)
    scored[answered] = [pb.REASON_DEGRADED not in reply.reasons for reply in decode(run)]
    good = scored & (run.done - run.sent <= deadline_s)
    of_sent, of_due = run.on_wire_s[good], (run.done - run.scheduled)[good]
    statuses = run.errors()
    return {
        "calls": len(run.status),
        "goodput_per_second": round(float(good.sum()) / run.elapsed_s, 1),
        "success": round(float(answered.mean()), 4),
        "coverage": round(float(scored.mean()), 4),
        "coverage_of_answered": round(float(scored[answered].mean()), 4) if answered.any() else None,
        **{
            f"{name}_{at}_us": None if (value := percentile(values, share)) is None else round(value * 1e6, 1)
            for name, values in (("sent", of_sent), ("due", of_due))
            for at, share in (("p50", 0.5), ("p99", 0.99))
        },
        "late": statuses.pop(code_name(DEADLINE_EXCEEDED), 0),
        "rejected": statuses.pop(code_name(RESOURCE_EXHAUSTED), 0),
        "degraded": int((answered & ~scored).sum()),
        "errors": statuses,
        **lag(run),
    }


def recovery_s(address: str, payload: bytes) -> float:
    """How long one call takes right after a run, in seconds: the server may still work on calls that have expired."""
    client = FramesClient(address, ROUTE)
    try:
        samples = open_loop(client, np.zeros(1), [payload], give_up_s=RECOVERY_S)
    finally:
        client.close()
    return float(samples.latency_s[0]) if samples.good else RECOVERY_S
