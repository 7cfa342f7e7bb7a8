"""From what the replicas of a candidate say to one observation of it."""

from collections import deque
from collections.abc import Sequence
from math import fsum, inf, isfinite, nan

from sidecar.fleet.sources.engines import Engine
from sidecar.fleet.sources.expression import Expression, Gauge, Quotient, Rate, Selector, Sum, Term, needed
from sidecar.fleet.sources.samples import Samples, matching
from sidecar.fleet.telemetry import Telemetry

# Of these the candidate has the mean of its replicas; of all others the sum.
MEANS = frozenset({"kv_used", "first_token_seconds", "seconds_per_token"})


class Growth:
    """How much a counter grew lately.

    Args:
        window_s: how far back to look; further, if there was no reading since.
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._readings: deque[tuple[float, float]] = deque()

    def add(self, now: float, value: float) -> None:
        """Takes a reading. A counter that shrinks was reset: its server began anew, and so does this."""
        readings = self._readings
        if readings and value < readings[-1][1]:
            readings.clear()
        readings.append((now, value))
        while len(readings) > 2 and readings[1][0] <= now - self._window_s:  # noqa: PLR2004 - both ends
            readings.popleft()

    def lately(self) -> tuple[float, float]:
        """How much it grew, and in how many seconds; (0, 0) before the second reading."""
        (began, first), (ended, last) = self._readings[0], self._readings[-1]
        return last - first, ended - began


class Replica:
    """One server of a candidate, with the recent past of its counters."""

    def __init__(self, engine: Engine, window_s: float) -> None:
        self._growths = {selector: Growth(window_s) for one in engine.figures.values() for selector in one.counters()}
        self._samples: Samples | None = None

    def hear(self, samples: Samples | None, now: float) -> None:
        """Takes what it says now, in seconds of a monotonic clock; None: it could not be reached."""
        self._samples = samples
        if samples is not None:
            for selector, growth in self._growths.items():
                if selector.name in samples:
                    value = fsum(matching(samples[selector.name], selector.labels))
                    if isfinite(value):
                        growth.add(now, value)

    def has(self, term: Term) -> bool:
        """Whether it knows the metrics of a term."""
        samples = self._samples
        return samples is not None and all(selector.name in samples for selector in needed(term))

    def values(self, selector: Selector) -> list[float]:
        """What its rows say now."""
        assert self._samples is not None  # noqa: S101 - see has
        return matching(self._samples[selector.name], selector.labels)

    def growth(self, selector: Selector) -> tuple[float, float]:
        """See Growth.lately."""
        try:
            return self._growths[selector].lately()
        except IndexError:  # it never was a number
            return 0.0, 0.0


def observe(engine: Engine, replicas: Sequence[Replica], unix: float) -> Telemetry:
    """One observation of a candidate.

    Requests, tokens and errors are summed over the replicas that could be read, shares and times are averaged; a
    replica that could not be read counts neither with its load nor with its room.

    Args:
        engine: what the metrics mean.
        replicas: with what they said last.
        unix: when that was.

    Returns:
        What is known; figures that are negative or no numbers are not.
    """
    figures = {
        field: _sane(field, _evaluate(one, replicas, mean=field in MEANS)) for field, one in engine.figures.items()
    }
    return Telemetry(observed_unix=unix, **figures)


def _sane(field: str, value: float) -> float:
    if not 0.0 <= value < inf:
        return nan
    return min(value, 1.0) if field == "kv_used" else value


def _evaluate(expression: Expression, replicas: Sequence[Replica], *, mean: bool) -> float:
    for alternative in expression.alternatives:
        able = [replica for replica in replicas if all(replica.has(term) for term in alternative)]
        if able:
            return _sum(alternative, able, mean=mean)
    return nan


def _sum(terms: Sum, replicas: Sequence[Replica], *, mean: bool) -> float:
    return fsum(_term(term, replicas, mean=mean) for term in terms)


def _term(term: Term, replicas: Sequence[Replica], *, mean: bool) -> float:
    if isinstance(term, Gauge):
        values = [value for replica in replicas for value in replica.values(term.of)]
        return fsum(values) / (len(values) if mean else 1) if values else nan
    if isinstance(term, Rate):
        grown = [replica.growth(term.of) for replica in replicas]
        rates = [growth / seconds for growth, seconds in grown if seconds > 0.0]
        return fsum(rates) if rates else nan
    assert isinstance(term, Quotient)  # noqa: S101 - there is no other
    over = fsum(replica.growth(term.over)[0] for replica in replicas)
    under = fsum(replica.growth(term.under)[0] for replica in replicas)
    return over / under if under > 0.0 else nan
