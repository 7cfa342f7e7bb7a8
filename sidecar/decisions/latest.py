"""Decisions as they are told: what was chosen, what was expected of it, and what became of it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby

import msgspec

from sidecar.ledger.history import Past
from sidecar.ledger.resolve import Answer, resolve
from sidecar.ledger.rows import Decision, Reported, first_id
from sidecar.ledger.store import Store, Which

# Journals of several workers are imported side by side: a decision may come after one that was made later.
LOOK_BACK_S = 30.0
# Most decisions of one look; where more are made in a second, the newest are shown.
MOST_NEW = 1000


class Expected(msgspec.Struct, frozen=True):
    """What was expected of a candidate.

    Attributes:
        candidate: its name.
        model: the name that the gateway knows.
        admissible: whether it could be chosen; None where that was not recorded.
        excluded: why it could not be chosen, as sidecar.routing.exclusion says; `NONE` if it could. Of a last resort, why it
            could not have been chosen else. None where that was not recorded.
        quality: probability that the answer is acceptable.
        cost_usd: of the call.
        seconds: to the full answer; 0 where unknown.
        utility_usd: under the policy in force.
    """

    candidate: str
    model: str
    admissible: bool | None
    excluded: str | None
    quality: float
    cost_usd: float
    seconds: float
    utility_usd: float


class Became(msgspec.Struct, frozen=True):
    """What became of a decision: the answer that the caller got.

    Attributes:
        model: whose it is: a candidate's name, or the caller's word for another model; empty if nobody said.
        quality: in [0, 1]; None if nobody said, as with the fields that follow.
        quality_source: who judged it.
        latency_ms: to the full answer.
        cost_usd: of the call.
        error: kind of failure; empty if there was none.
        reports: how many it is known from.
    """

    model: str
    quality: float | None
    quality_source: str
    latency_ms: float | None
    cost_usd: float | None
    error: str | None
    reports: int


class Told(msgspec.Struct, frozen=True):
    """One decision.

    Attributes:
        id: 32 hexadecimal digits.
        time: ISO 8601, UTC.
        segment: in force.
        session: empty if none was named.
        policy: in force.
        chosen: what was expected of the chosen candidate.
        applied: whether the caller was told to use it; False in log-only mode.
        current_model: that the caller would have used; empty if it did not say.
        reasons: why.
        propensity: probability with which it was chosen.
        novelty: of the prompt.
        prompt_tokens: given or estimated.
        outcome: None if nothing was heard.
    """

    id: str
    time: str
    segment: str
    session: str
    policy: str
    chosen: Expected
    applied: bool
    current_model: str
    reasons: list[str]
    propensity: float
    novelty: float
    prompt_tokens: int
    outcome: Became | None


class Whole(msgspec.Struct, frozen=True):
    """One decision with all that is known of it, but for the prompt and its embedding.

    Attributes:
        decision: as in the list.
        bundle: name, version and sha256 of the manifest; empty strings if there was none.
        answer_value_usd: what an acceptable answer was worth.
        second_value_usd: what a second of waiting cost.
        candidates: all, the admissible ones best first, then the others.
        prompt_chars: of the prompt that is kept; None if it is not.
        answers: resolved from the outcomes, by candidate.
        outcomes: as they were reported, in order of import.
    """

    decision: Told
    bundle: tuple[str, str, str]
    answer_value_usd: float
    second_value_usd: float
    candidates: list[Expected]
    prompt_chars: int | None
    answers: dict[str, Answer]
    outcomes: list[dict[str, object]]


def latest(store: Store, which: Which, limit: int) -> list[Told]:
    """The newest decisions, newest first.

    Raises:
        StoreAway: the store does not answer.
    """
    return _with_outcomes(store, store.select(which, limit, newest=True))


def whole(store: Store, decision_id: bytes) -> Whole | None:
    """All of one decision; None if it is not there.

    Raises:
        StoreAway: the store does not answer.
    """
    found = store.find([decision_id])
    if not found:
        return None
    decision, reports = found[0], store.outcomes_of([decision_id])
    answers = resolve(decision, reports)
    ranking = decision.admissible()
    order = [*ranking, *(index for index in range(len(decision.candidates)) if index not in ranking)]
    return Whole(
        decision=_told(Past(decision, answers)),
        bundle=decision.bundle,
        answer_value_usd=decision.answer_value_usd,
        second_value_usd=decision.second_value_usd,
        candidates=[_expected(decision, index) for index in order],
        prompt_chars=None if decision.prompt is None else len(decision.prompt),
        answers=answers,
        outcomes=[_reported(report) for report in reports],
    )


class Follower:
    """Finds the decisions that are new.

    Args:
        store: where they come.
        which: of them.
    """

    def __init__(self, store: Store, which: Which) -> None:
        self._store = store
        self._which = which
        self._seen: set[bytes] = set()

    def first(self, limit: int, now: float) -> list[Told]:
        """The latest ones to begin with, the newest last; what is there already will not be new.

        Args:
            limit: most of them.
            now: Unix seconds.

        Raises:
            StoreAway: the store does not answer.
        """
        self._look(now)
        return latest(self._store, self._which, limit)[::-1]

    def new(self, now: float) -> list[Told]:
        """What came since the last look, the newest last.

        Args:
            now: Unix seconds.

        Raises:
            StoreAway: the store does not answer.
        """
        return _with_outcomes(self._store, self._look(now)[::-1])

    def _look(self, now: float) -> list[Decision]:
        which = self._which._replace(since=max(self._which.since, first_id(now - LOOK_BACK_S)))
        page = self._store.select(which, MOST_NEW, newest=True)
        seen, self._seen = self._seen, {decision.decision_id for decision in page}
        return [decision for decision in page if decision.decision_id not in seen]


def _with_outcomes(store: Store, decisions: Sequence[Decision]) -> list[Told]:
    reported = store.outcomes_of([decision.decision_id for decision in decisions])
    by_decision = {name: list(some) for name, some in groupby(reported, key=lambda report: report.decision_id)}
    return [_told(Past(one, resolve(one, by_decision.get(one.decision_id, ())))) for one in decisions]


def _told(past: Past) -> Told:
    decision = past.decision
    model, answer = past.served()
    return Told(
        id=decision.decision_id.hex(),
        time=moment(decision.decided_at),
        segment=decision.segment,
        session=decision.session_id,
        policy=decision.policy,
        chosen=_expected(decision, decision.candidates.index(decision.candidate)),
        applied=decision.applied,
        current_model=decision.current_model,
        reasons=decision.reasons.split(",") if decision.reasons else [],
        propensity=decision.propensity,
        novelty=decision.novelty,
        prompt_tokens=decision.prompt_tokens,
        outcome=None
        if answer is None
        else Became(
            model,
            answer.quality,
            answer.quality_source,
            answer.latency_ms,
            answer.cost_usd,
            answer.error,
            answer.reports,
        ),
    )


def _expected(decision: Decision, index: int) -> Expected:
    figures = decision.expectations()[:, index].tolist()
    admissible = None if decision.ranking is None else index in decision.admissible()
    exclusions = decision.excluded()
    exclusion = None if exclusions is None else exclusions[index]
    excluded = None if exclusion is None else exclusion.name
    return Expected(decision.candidates[index], decision.models[index], admissible, excluded, *figures)


def _reported(report: Reported) -> dict[str, object]:
    told = {name: value for name, value in report._asdict().items() if value is not None and name != "decision_id"}
    told["received"], told["observed"] = moment(told.pop("received_at")), moment(told.pop("observed_at"))
    if report.labels:
        told["labels"] = msgspec.json.decode(report.labels)
    return told


def moment(unix_seconds: float) -> str:
    """Unix seconds as ISO 8601 in UTC."""
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
