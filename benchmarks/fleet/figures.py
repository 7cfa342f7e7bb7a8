"""What a run with a simulated fleet came to: the arithmetic over its journeys."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmarks.fleet import stretches
from benchmarks.fleet.gateway import Gateway, Journey
from benchmarks.fleet.servers import End
from benchmarks.fleet.workload import Questions
from benchmarks.samples import Row, percentile

Vector = NDArray[np.float64]


def counted(journeys: Sequence[Journey], from_s: float) -> list[Journey]:
    """The journeys that began after the warm-up."""
    return [journey for journey in journeys if journey.arrived >= from_s]


def answers_s(journeys: Sequence[Journey]) -> Vector:
    """[N] virtual seconds from arrival to the complete answer; of failed ones, to the end of the last attempt."""
    return np.array([journey.done - journey.arrived for journey in journeys])


def qualities(journeys: Sequence[Journey], questions: Questions) -> Vector:
    """[N] recorded quality of the answers; 0 where there was none."""
    return np.array(
        [
            questions.quality[journey.question, journey.answered_by] if journey.answered_by >= 0 else 0.0
            for journey in journeys
        ]
    )


def summary(journeys: Sequence[Journey], questions: Questions, gateway: Gateway, from_s: float = 0.0) -> Row:
    """The columns of one run.

    Args:
        journeys: all of the run.
        questions: what they asked.
        gateway: that they went through.
        from_s: journeys that arrived before are left out: the servers were empty when they came.
    """
    kept = counted(journeys, from_s)
    took = answers_s(kept)
    answered = [journey for journey in kept if journey.answered_by >= 0]
    cost = sum(questions.cost_usd(journey.question, journey.answered_by) for journey in answered)
    labels = [server.candidate.label for server in gateway.servers]
    queued = _by_candidate(gateway, from_s, [0.0] * len(labels))
    backlog = _by_candidate(gateway, from_s, second_of_work(gateway, questions))
    return {
        "requests": len(kept),
        **{
            f"{name}_s": _rounded(percentile(took, share))
            for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
        },
        "quality": round(float(qualities(kept, questions).mean()), 4) if kept else None,
        "usd_per_1k": round(cost / len(answered) * 1e3, 4) if answered else None,
        "failed": len(kept) - len(answered),
        "fell_back": sum(len(journey.attempts) > 1 for journey in kept),
        "rate_limited": sum(call.end is End.RATE_LIMITED for journey in kept for call in journey.attempts),
        "over_capacity_s": max(backlog.values()),
        "over_capacity_by_candidate": backlog,
        "queued_s": max(queued.values()),
        "queued_by_candidate": queued,
        "shares": {
            label: share for label, share in zip(labels, _rounded_shares(kept, len(labels)), strict=True) if share
        },
    }


def second_of_work(gateway: Gateway, questions: Questions) -> list[float]:
    """[C] answers of usual length that each server completes per second with all slots busy."""
    tokens = np.nanmean(questions.tokens, axis=0)
    prompt = float(questions.prompt_tokens.mean())
    return [
        server.candidate.capacity_per_s(prompt, float(own)) for server, own in zip(gateway.servers, tokens, strict=True)
    ]


def unbalanced(
    gateway: Gateway, questions: Questions, among: Sequence[int], from_s: float = 0.0
) -> list[tuple[float, float]]:
    """Stretches in which one candidate had more than a second's work queued while another one had a slot free.

    That is what a router can be blamed for, however much comes.

    Args:
        gateway: after the run.
        questions: what was asked.
        among: the candidates that are looked at.
        from_s: end of the warm-up.
    """
    work = second_of_work(gateway, questions)
    over = stretches.either(*(gateway.servers[index].queued(work[index]) for index in among))
    free = stretches.either(*(gateway.servers[index].free() for index in among))
    return stretches.both([(from_s, gateway.calendar.now)], stretches.both(over, free))


def _by_candidate(gateway: Gateway, from_s: float, more_than: Sequence[float]) -> dict[str, float]:
    return {
        server.candidate.label: round(longest(server.queued(most), from_s), 2)
        for server, most in zip(gateway.servers, more_than, strict=True)
    }


def longest(stretches: Sequence[tuple[float, float]], from_s: float = 0.0) -> float:
    """Length of the longest stretch of time after `from_s`."""
    return max((stop - max(start, from_s) for start, stop in stretches if stop > from_s), default=0.0)


def shares(journeys: Sequence[Journey], candidates: int) -> Vector:
    """[C] share of the decisions that each candidate got; zeros if there were none."""
    counts = np.bincount([journey.chosen for journey in journeys], minlength=candidates)
    share: Vector = counts / max(1, len(journeys))
    return share


def share_over_time(journeys: Sequence[Journey], candidate: int, edges: Vector) -> tuple[Vector, NDArray[np.int64]]:
    """One candidate's share of the decisions between successive edges, and how many decisions there were.

    Args:
        journeys: with the times at which they were decided.
        candidate: whose share.
        edges: [K + 1] virtual seconds, ascending.

    Returns:
        [K] shares, NaN where nothing was decided; [K] decisions.
    """
    decided = np.array([journey.decided for journey in journeys])
    chosen = np.array([journey.chosen == candidate for journey in journeys], dtype=np.bool_)
    every, _ = np.histogram(decided, edges)
    its, _ = np.histogram(decided[chosen], edges)
    with np.errstate(invalid="ignore"):
        return its / np.where(every, every, np.nan), every.astype(np.int64)


def quality_difference(ours: Vector, theirs: Vector) -> tuple[float, float]:
    """Mean of the paired difference and its standard error, both in points.

    Args:
        ours: [N] quality per request.
        theirs: [N] of the same requests.
    """
    differences = (ours - theirs) * 100.0
    error = differences.std(ddof=1) / np.sqrt(len(differences)) if len(differences) > 1 else 0.0
    return float(differences.mean()), float(error)


def ideal_split(slots: ArrayLike, in_flight: ArrayLike, requests: int) -> Vector:
    """[C] of so many simultaneous requests, how many each candidate should get: all then wait equally long.

    Servers are equally fast, so the wait is in proportion to calls per slot; requests are filled in like water, up to the
    level at which (in flight + new) / slots is the same for all who get any.

    Args:
        slots: of each server.
        in_flight: calls it has already.
        requests: to be shared out.
    """
    size, busy = np.asarray(slots, dtype=np.float64), np.asarray(in_flight, dtype=np.float64)
    order = np.argsort(busy / size, kind="stable")
    level = 0.0
    for taken in range(1, len(order) + 1):
        some = order[:taken]
        level = (requests + busy[some].sum()) / size[some].sum()
        if taken == len(order) or level <= busy[order[taken]] / size[order[taken]]:
            break
    split: Vector = np.maximum(0.0, level * size - busy)
    return split


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _rounded_shares(journeys: Sequence[Journey], candidates: int) -> list[float]:
    return [round(float(share), 3) for share in shares(journeys, candidates)]
