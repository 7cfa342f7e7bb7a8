"""The report on what adopting the router would change; or with `against`, on what it does change."""

import msgspec

from sidecar.decisions.trust import METHOD, Compared


class Side(msgspec.Struct, frozen=True):
    """What is expected of one way to answer.

    Attributes:
        acceptable_per_1k: acceptable answers of 1,000 requests.
        usd_per_1k: cost of 1,000 requests.
        seconds: mean time to the full answer; 0 where unknown.
        utility_usd_per_1k: under the policies in force.
        acceptable_per_day: at the seen rate; None where too short a time was seen for one.
        usd_per_day: likewise.
    """

    acceptable_per_1k: float
    usd_per_1k: float
    seconds: float
    utility_usd_per_1k: float
    acceptable_per_day: float | None
    usd_per_day: float | None


class Slice(msgspec.Struct, frozen=True):
    """One segment, or all of them.

    Attributes:
        segment: empty: no segment, or all of them.
        decisions: in log-only mode.
        unknown: of these, the caller's model is unknown to the router: there is no forecast for it. All that follows is
            about the others.
        differ: the router would have chosen another model.
        share: of those with a forecast, that differ.
        inadmissible: of those that differ, the caller's model was not admissible (constraints, breaker, budgets).
        caller: the callers' models; None if there is no forecast at all.
        router: the choices.
    """

    segment: str
    decisions: int
    unknown: int
    differ: int
    share: float
    inadmissible: int
    caller: Side | None
    router: Side | None


class Move(msgspec.Struct, frozen=True):
    """Decisions that would go from one model to another; differences are the choice's less the caller's.

    Attributes:
        current: the caller's candidate.
        chosen: the router's.
        decisions: how many.
        share: of those that differ.
        acceptable_per_1k: difference, as all that follow.
        usd_per_1k: cost.
        seconds: mean.
        utility_usd_per_1k: under the policies in force.
    """

    current: str
    chosen: str
    decisions: int
    share: float
    acceptable_per_1k: float
    usd_per_1k: float
    seconds: float
    utility_usd_per_1k: float


class Single(msgspec.Struct, frozen=True):
    """One decision that would change much; differences are the choice's less the caller's.

    Attributes:
        id: of the decision.
        time: ISO 8601, UTC.
        segment: in force.
        current: the caller's candidate.
        chosen: the router's.
        admissible: whether the caller's was admissible.
        quality: difference, as all that follow.
        cost_usd: of the call.
        seconds: to the full answer.
        utility_usd: under the policy in force.
    """

    id: str
    time: str
    segment: str
    current: str
    chosen: str
    admissible: bool
    quality: float
    cost_usd: float
    seconds: float
    utility_usd: float


class Adoption(msgspec.Struct, frozen=True):
    """What adopting the router would change.

    Attributes:
        first: time of the first decision that counts; ISO 8601, UTC.
        last: of the last one.
        span_seconds: between them.
        requests_per_day: at the rate between them; None where less than an hour was seen. Of less than a day it is a
            forecast: the other hours are taken to be like the seen ones.
        unscored: decisions that were made without a score (reason DEGRADED): the safe candidate was chosen.
        overall: all segments.
        segments: each, the most frequent first.
        moves: the most frequent first.
        singles: the largest differences in utility first.
        unknown: models of callers that are unknown to the router, with how often, the most frequent first.
        elsewhere: decisions whose answer came from another model than the caller said; not compared.
        compared: predictions of the callers' models against what was measured; with `against`, of the choices.
        method: of the intervals.
        against: what applied decisions are compared with, in the place of the callers' models: this candidate for all of
            them. Empty: the decisions are log-only ones.
    """

    first: str
    last: str
    span_seconds: float
    requests_per_day: float | None
    unscored: int
    overall: Slice
    segments: list[Slice]
    moves: list[Move]
    singles: list[Single]
    unknown: dict[str, int]
    elsewhere: int
    compared: list[Compared]
    method: str = METHOD
    against: str = ""
