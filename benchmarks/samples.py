"""What a run measured, and the arithmetic over it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.client import OK, UNANSWERED, code_name
from benchmarks.schedule import Seconds

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}

Row = dict[str, Any]  # column -> number, text, None where there is no figure, or counts by name


@dataclass(frozen=True)
class Samples:
    """N calls. Times are seconds since the run began.

    Attributes:
        scheduled: [N] when the call was due. Latency counts from here: a generator that sends late because the server
            is slow must not hide that slowness ("coordinated omission").
        sent: [N] when it was handed to the client.
        done: [N] when its reply was read; where there is none, when the wait for it was given up.
        status: [N] gRPC status numbers, or UNANSWERED.
        bodies: N replies; empty where there is none.
        elapsed_s: length of the run.
        written: [N] when its headers were written, NaN where they never were; later than `sent` where the client had
            to wait for a stream. None: as `sent`.
    """

    scheduled: Seconds
    sent: Seconds
    done: Seconds
    status: NDArray[np.int64]
    bodies: Sequence[bytes]
    elapsed_s: float
    written: Seconds | None = None

    @property
    def counted(self) -> NDArray[np.bool_]:
        """[N] whose latency counts: good replies, and calls never answered (their wait is a lower bound)."""
        return np.isin(self.status, (OK, UNANSWERED))

    @property
    def latency_s(self) -> Seconds:
        """[M] of the calls that count, from when they were due."""
        return (self.done - self.scheduled)[self.counted]

    @property
    def service_s(self) -> Seconds:
        """[M] of the same calls, from when they were really sent: blames the server only."""
        return self.on_wire_s[self.counted]

    @property
    def on_wire_s(self) -> Seconds:
        """[N] from when the headers were written; NaN where they never were."""
        return np.subtract(self.done, self.sent if self.written is None else self.written)

    @property
    def lag_s(self) -> Seconds:
        """[N] how late the generator itself was."""
        return self.sent - self.scheduled

    @property
    def good(self) -> int:
        """Good replies."""
        return int((self.status == OK).sum())

    def part(self, chosen: NDArray[np.bool_]) -> "Samples":
        """Some of the calls.

        Args:
            chosen: [N] which.
        """
        return Samples(
            self.scheduled[chosen],
            self.sent[chosen],
            self.done[chosen],
            self.status[chosen],
            [self.bodies[index] for index in np.flatnonzero(chosen).tolist()],
            self.elapsed_s,
            None if self.written is None else self.written[chosen],
        )

    def errors(self) -> dict[str, int]:
        """Calls without a good reply, by status code."""
        counts = Counter(int(status) for status in self.status if status != OK)
        return {code_name(status): count for status, count in sorted(counts.items())}


def percentile(values: Seconds, share: float) -> float | None:
    """The smallest value that at least `share` of the values do not exceed (nearest rank).

    None where there are too few values to tell: p99.9 of 100 values would be a guess.
    """
    if len(values) < round(1 / (1 - share)):
        return None
    return float(np.quantile(values, share, method="inverted_cdf"))


def microseconds(values: Seconds, prefix: str = "") -> Row:
    """All percentiles and the maximum in microseconds, as `<prefix>p50_us` and so on."""
    row: Row = {}
    for name, share in PERCENTILES.items():
        at = percentile(values, share)
        row[f"{prefix}{name}_us"] = None if at is None else round(at * 1e6, 1)
    row[f"{prefix}max_us"] = round(float(values.max()) * 1e6, 1) if len(values) else None
    return row


def summary(samples: Samples) -> Row:
    """The columns that every load table has."""
    return {
        "calls": len(samples.status),
        "per_second": round(samples.good / samples.elapsed_s, 1),
        **microseconds(samples.latency_s),
        "errors": samples.errors(),
    }


def lag(samples: Samples) -> Row:
    """The columns that say whether the generator kept up."""
    row = microseconds(samples.lag_s, "lag_")
    return {"offered_per_second": round(_offered(samples), 1), **row}


def fell_behind(samples: Samples, tolerance_s: float = 0.0005) -> str:
    """Says that the generator was late by more than `tolerance_s` at p99; empty if it was not."""
    late = percentile(samples.lag_s, 0.99)
    late = float(samples.lag_s.max()) if late is None else late
    if late <= tolerance_s:
        return ""
    service = percentile(samples.service_s, 0.99)
    told = "" if service is None else f"; counted from the real send, p99 is {service * 1e6:.0f} us"
    return (
        f"at {_offered(samples):.0f} req/s the GENERATOR fell behind: it sent {late * 1e6:.0f} us late at p99, and the "
        f"latencies hold that lag{told}"
    )


def _offered(samples: Samples) -> float:
    span = float(samples.scheduled[-1] - samples.scheduled[0])
    return (len(samples.scheduled) - 1) / span if span > 0 else 0.0
