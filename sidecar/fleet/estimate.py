"""From all processes' rows to what is expected of each candidate."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sidecar.fleet.columns import (
    FIRST_TOKEN,
    IN_FLIGHT_THEN,
    LOAD_AT,
    MAX_RUNNING,
    PER_TOKEN,
    RUNNING,
    SLOTS_SEEN,
    WAITING,
)
from sidecar.fleet.latency import Evidence, blend, merge
from sidecar.fleet.settings import FleetConfig

Column = NDArray[np.float64]
Mask = NDArray[np.bool_]
Block = NDArray[np.float64]


class Priors(NamedTuple):
    """What is known of the candidates before anything was measured, each [C]; nan is unknown.

    Attributes:
        names: model names, as in the table.
        first_token_seconds: configured.
        seconds_per_token: configured.
        mean_output_tokens: of the bundle; 0 where unknown.
        concurrency: configured: calls that the candidate answers at a time.
    """

    names: Sequence[str]
    first_token_seconds: Column
    seconds_per_token: Column
    mean_output_tokens: Column
    concurrency: Column


class Estimates(NamedTuple):
    """What is expected, each [C].

    Attributes:
        foreign: calls at the servers beside this sidecar's own; below 0 where they had fewer than were counted here.
        slots: calls that are answered at a time; inf where unknown.
        slots_but_one: the same less one.
        zeros: as the name says; numpy is faster with columns than with numbers.
        step_seconds: by how much one more call that waits adds to the wait; 0 where unknown.
        first_token_seconds: without the wait; where unknown, the mean of the known ones.
        seconds_per_token: likewise.
        known: whether there are any figures of time.
        uncertainty: standard error of the expected seconds, in seconds.
        evidence: the decayed sums.
    """

    foreign: Column
    slots: Column
    slots_but_one: Column
    zeros: Column
    step_seconds: Column
    first_token_seconds: Column
    seconds_per_token: Column
    known: Mask
    uncertainty: Column
    evidence: Evidence


class Load(NamedTuple):
    """What servers said of their load, the latest of each, [C].

    Attributes:
        trust: how much it still counts, 1 to 0.
        others: calls of theirs that were not ours.
        present: all calls there.
        slots: calls that they answer at a time; nan where unknown.
        first_token_seconds: nan where unknown.
        seconds_per_token: nan where unknown.
    """

    trust: Column
    others: Column
    present: Column
    slots: Column
    first_token_seconds: Column
    seconds_per_token: Column


def estimate(block: Block, priors: Priors, settings: FleetConfig, now: float) -> Estimates:
    """Estimates from configured figures, outcomes and telemetry, each weighted by how much it is worth now.

    Args:
        block: [W, C, COLUMNS] all processes' rows.
        priors: what is configured.
        settings: weights and half-lives.
        now: monotonic seconds.
    """
    evidence = merge(block, now, settings.latency_half_life_seconds)
    load = _load(block, settings, now) if block[:, :, LOAD_AT].any() else None
    per_token, _ = blend(
        _fixed(priors.seconds_per_token, settings.prior_weight),
        (evidence.tokens_n, _ratio(evidence.tokens_sum, evidence.tokens) * evidence.tokens_n),
        *([_fixed(load.seconds_per_token, load.trust * settings.telemetry_weight)] if load else []),
    )
    first, weight = blend(
        _fixed(priors.first_token_seconds, settings.prior_weight), (evidence.first_n, evidence.first_sum)
    )
    unqueued = first if load is None else np.where(weight > 0.0, first, load.first_token_seconds)
    # Nothing here is below 0, so fmax puts a 0 where nothing is known.
    expected = np.fmax(unqueued, 0.0) + priors.mean_output_tokens * np.fmax(per_token, 0.0)
    service, _ = blend(
        _fixed(np.where(expected > 0.0, expected, np.nan), settings.prior_weight),
        (evidence.service_n, evidence.service_sum),
    )
    slots = priors.concurrency
    if load is None:
        step = np.fmax(service / slots, 0.0)
        foreign = stale = np.zeros_like(step)
    else:
        slots = np.where(np.isnan(slots), load.slots, slots)
        step = np.fmax(service / slots, 0.0)
        foreign = load.others * load.trust
        stale = np.abs(load.others) * (1.0 - load.trust) * step
        # Their time to the first token has their wait in it, which the queue model adds by itself.
        wait_then = np.fmax(load.present - slots + 1.0, 0.0) * step
        theirs = np.maximum(load.first_token_seconds - wait_then, 0.0)
        first, _ = blend(
            _fixed(priors.first_token_seconds, settings.prior_weight),
            (evidence.first_n, evidence.first_sum),
            _fixed(theirs, load.trust * settings.telemetry_weight),
        )
    known = ~(np.isnan(first) & np.isnan(per_token))
    first, per_token = _usual(first, known), _usual(per_token, known)
    spread = _spread(evidence, first, settings.prior_weight)
    slots = np.where(np.isnan(slots), np.inf, slots)
    return Estimates(
        foreign,
        slots,
        slots - 1.0,
        np.zeros_like(slots),
        step,
        first,
        per_token,
        known,
        np.sqrt(spread + stale * stale),
        evidence,
    )


def _load(block: Block, settings: FleetConfig, now: float) -> Load:
    latest = block[:, :, LOAD_AT].argmax(axis=0)
    rows = block[latest, np.arange(block.shape[1])]
    said = rows[:, LOAD_AT] > 0.0
    age = np.maximum(now - rows[:, LOAD_AT], 0.0)
    fresh = said & (age < settings.telemetry_unknown_after_seconds)
    trust = np.where(fresh, np.exp2(-age / settings.telemetry_half_life_seconds), 0.0)
    counted = said & ~np.isnan(rows[:, RUNNING])
    present = np.where(counted, rows[:, RUNNING] + np.fmax(rows[:, WAITING], 0.0), 0.0)
    seen = np.where(rows[:, SLOTS_SEEN] > 0.0, rows[:, SLOTS_SEEN], np.nan)
    return Load(
        trust,
        np.where(counted, present - rows[:, IN_FLIGHT_THEN], 0.0),
        present,
        np.where(said & (rows[:, MAX_RUNNING] > 0.0), rows[:, MAX_RUNNING], seen),
        np.where(fresh, rows[:, FIRST_TOKEN], np.nan),
        np.where(fresh, rows[:, PER_TOKEN], np.nan),
    )


def _usual(value: Column, known: Mask) -> Column:
    """What is known; elsewhere what is usual: unknown is neither fast nor slow."""
    value = np.fmax(value, 0.0)
    return value if known.all() or not known.any() else np.where(known, value, value[known].mean())


def _fixed(value: Column, weight: Column | float) -> tuple[Column, Column]:
    """A value with a weight, as `blend` takes it; of what is unknown the weight is 0."""
    weights = np.where(np.isnan(value), 0.0, weight)
    return weights, weights * np.fmax(value, 0.0)


def _ratio(numerator: Column, denominator: Column) -> Column:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0.0)


def _spread(evidence: Evidence, first: Column, prior_weight: float) -> Column:
    """Squared standard error of the time to the first token; unmeasured, one call's time is as uncertain as it is long."""
    n = evidence.first_n
    mean = _ratio(evidence.first_sum, n)
    measured = np.maximum(evidence.first_squares - n * mean * mean, 0.0)
    return (prior_weight * first * first + measured) / (prior_weight + n) / (1.0 + n)
