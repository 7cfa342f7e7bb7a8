"""What swaps cost: the arithmetic over calls and swaps, without a server."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from benchmarks.client import OK
from benchmarks.long_loop import Calls
from benchmarks.samples import Row, percentile
from benchmarks.schedule import Seconds

Mask = NDArray[np.bool_]
Spans = Sequence[tuple[float, float]]


class Swap(NamedTuple):
    """One swap or rollback, as its caller saw it.

    Attributes:
        to: the mark of the version that runs afterwards.
        began: when it was ordered.
        acknowledged: when its caller had the reply.
        gate_s: verifying, trying out, comparing; 0 for a rollback.
        prepare_s: loading in the worker; 0 for a rollback.
        switch_s: from the order to switch until the last worker had switched.
        resident_mb: the worker's memory afterwards, in MB (10**6 bytes).
    """

    to: int
    began: float
    acknowledged: float
    gate_s: float
    prepare_s: float
    switch_s: float
    resident_mb: float

    @classmethod
    def of(cls, line: dict[str, Any], marks: dict[str, int]) -> Self:
        """From a line of benchmarks.swapper."""
        gate_s, prepare_s, switch_s = (line.get(f"{stage}_ms", 0.0) / 1e3 for stage in ("gate", "prepare", "switch"))
        return cls(
            to=marks[line["to"]],
            began=line["began"],
            acknowledged=line["acknowledged"],
            gate_s=gate_s,
            prepare_s=prepare_s,
            switch_s=switch_s,
            resident_mb=line["resident_mb"],
        )

    @property
    def whole(self) -> tuple[float, float]:
        """From the order to the acknowledgement."""
        return self.began, self.acknowledged

    @property
    def loading(self) -> tuple[float, float]:
        """When the worker loaded and switched: the last part before the acknowledgement."""
        return max(self.began, self.acknowledged - self.prepare_s - self.switch_s), self.acknowledged

    @property
    def earliest(self) -> float:
        """Before this moment the worker cannot have switched: the stages before took so long."""
        return self.began + self.gate_s + self.prepare_s


def overlapping(calls: Calls, spans: Spans) -> Mask:
    """[N] whether a call was under way in any of the spans, which are apart and in order."""
    begins, ends = (np.array(side) for side in zip(*spans, strict=True)) if spans else (np.empty(0), np.empty(0))
    # A span that had begun when the call ended, and had not ended when the call began.
    return np.searchsorted(begins, calls.done, "right") > np.searchsorted(ends, calls.sent, "left")


def stale(calls: Calls, swaps: Sequence[Swap]) -> tuple[int, int]:
    """Calls that an older version scored although the switch away from it was acknowledged before they were sent.

    Args:
        calls: all.
        swaps: swaps and rollbacks, in order.

    Returns:
        How many were stale, and how many were looked at: those that had ended before the next switch can have happened.
    """
    wrong = looked_at = 0
    order = np.argsort(calls.sent, kind="stable")
    sent, done, mark, good = calls.sent[order], calls.done[order], calls.mark[order], calls.status[order] == OK
    for index, swap in enumerate(swaps):
        until = swaps[index + 1].earliest if index + 1 < len(swaps) else np.inf
        part = slice(int(np.searchsorted(sent, swap.acknowledged)), int(np.searchsorted(sent, until)))
        certain = good[part] & (done[part] < until)
        looked_at += int(certain.sum())
        wrong += int((certain & (mark[part] != swap.to)).sum())
    return wrong, looked_at


def astray(calls: Calls, first: int, swaps: Sequence[Swap]) -> int:
    """Good calls around a swap whose reply names neither the version before it nor the one after it.

    Args:
        calls: all.
        first: the mark of the version that runs before the first swap.
        swaps: swaps and rollbacks, in order.
    """
    wrong, before, since = 0, first, -np.inf
    for index, swap in enumerate(swaps):
        until = swaps[index + 1].earliest if index + 1 < len(swaps) else np.inf
        around_it = (calls.status == OK) & (calls.sent >= since) & (calls.done < until)
        wrong += int((around_it & ~np.isin(calls.mark, (before, swap.to))).sum())
        before, since = swap.to, swap.acknowledged
    return wrong


def level(calls: Calls, chosen: Mask, seconds: float) -> Row:
    """Latency and throughput of some of the calls, which were made within so many seconds."""
    took = calls.took_s[chosen & (calls.status == OK)]
    row: Row = {"calls": len(took), "per_second": round(len(took) / seconds, 1) if seconds > 0 else None}
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        at = percentile(took, share)
        row[f"{name}_us"] = None if at is None else round(at * 1e6, 1)
    return row


def levels(calls: Calls, swaps: Sequence[Swap]) -> list[Row]:
    """Calls outside of all swaps; under way in any part of one; under way while the worker loaded and switched.

    `per_second` counts the calls that ended there.
    """
    span = float(calls.done.max() - calls.sent.min())
    whole, loading = [swap.whole for swap in swaps], [swap.loading for swap in swaps]
    rows = []
    for subject, spans, inside in (
        ("outside of swaps", whole, False),
        ("during the whole activation, gate included", whole, True),
        ("while the worker loads and switches", loading, True),
    ):
        seconds = sum(end - begin for begin, end in spans)
        ended = overlapping(Calls(calls.done, calls.done, calls.status, calls.mark), spans) == inside
        row = level(calls, overlapping(calls, spans) == inside, 1.0)
        good = int((ended & (calls.status == OK)).sum())
        rows.append({"subject": subject, **row, "per_second": round(good / (seconds if inside else span - seconds), 1)})
    base = rows[0]
    for row in rows[1:]:
        row |= {
            f"{name}_ratio": round(row[column] / base[column], 3) if row[column] and base[column] else None
            for name, column in (("p50", "p50_us"), ("p99", "p99_us"), ("throughput", "per_second"))
        }
    return rows


def around(calls: Calls, swaps: Sequence[Swap], before_s: float, after_s: float, window_s: float) -> list[Seconds]:
    """p99 in windows around each acknowledgement, of the calls that ended there.

    Returns:
        For each window the p99 of each swap, in seconds; NaN where no call ended.
    """
    order = np.argsort(calls.done, kind="stable")
    done, took = calls.done[order], calls.took_s[order]
    found = []
    for number in range(round((before_s + after_s) / window_s)):
        of_window = []
        for swap in swaps:
            begin = swap.acknowledged - before_s + number * window_s
            part = took[int(np.searchsorted(done, begin)) : int(np.searchsorted(done, begin + window_s))]
            of_window.append(float(np.quantile(part, 0.99, method="inverted_cdf")) if len(part) else np.nan)
        found.append(np.array(of_window))
    return found
