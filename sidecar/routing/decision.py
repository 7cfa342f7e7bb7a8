"""The decision rule over a batch."""

import enum
from collections.abc import Sequence
from datetime import UTC, datetime
from math import ceil
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sidecar.errors import NoCandidate, OverBudget
from sidecar.fleet.closed import Closed
from sidecar.routing.ask import Ask
from sidecar.routing.candidates import CandidateTable, Mask
from sidecar.types import Scores

Matrix = NDArray[np.float64]

# Above this novelty less than one in twenty training prompts is as unlike the rest: worth telling the caller.
NOVEL_FROM = 0.95


class Reason(enum.IntEnum):
    """Why a candidate was chosen; the numbers are those on the wire."""

    LEARNED = 1
    NOVEL = 2
    CONSTRAINT = 3
    DEGRADED = 4
    STICKY = 5
    LOAD = 6
    SPREAD = 7
    LAST_RESORT = 8

    # Decisions are counted by their reasons, and the enum's own hash is a function in Python.
    __hash__ = int.__hash__


class Expectations(NamedTuple):
    """What is expected of every candidate for every request of a batch, each [B, C].

    Attributes:
        quality: probability that the answer is acceptable.
        cost: USD of the call.
        seconds: time to the full answer; 0 where unknown.
        utility: USD under the policy in force.
        tokens: of the answer.
    """

    quality: Matrix
    cost: Matrix
    seconds: Matrix
    utility: Matrix
    tokens: Matrix


class Choice(NamedTuple):
    """The decision for one request.

    Attributes:
        ranking: output indices of the admissible candidates, best first; the first is chosen.
        reasons: why.
        novelty: of the prompt.
        propensity: probability with which the first was chosen.
        recovery_s: seconds until it is expected back, if it was chosen although it cools down; else 0.
        admitted: [C] whom the request's limits left; None: they left everybody who is offered.
        closed: what budgets closed then; None: nothing.
    """

    ranking: list[int]
    reasons: tuple[Reason, ...]
    novelty: float
    propensity: float = 1.0
    recovery_s: float = 0.0
    admitted: Mask | None = None
    closed: Closed | None = None


Outcome = Choice | NoCandidate | OverBudget


class Needs(NamedTuple):
    """What the utility depends on beside the candidates: for a batch each [B, 1], for one request plain numbers.

    Attributes:
        prompt_tokens: of the whole prompt.
        max_output_tokens: the answer's limit; inf if there is none.
        answer_value_usd: what one acceptable answer is worth.
        second_value_usd: what one second of waiting costs.
    """

    prompt_tokens: Matrix | float
    max_output_tokens: Matrix | float
    answer_value_usd: Matrix | float
    second_value_usd: Matrix | float


def needs_of(asks: Sequence[Ask]) -> Needs:
    """The numbers of a batch of requests."""
    rows = [(a.prompt_tokens, a.max_output_tokens, a.terms.answer_value_usd, a.terms.second_value_usd) for a in asks]
    if len(rows) == 1:
        return Needs(*rows[0])  # numpy takes numbers as they are, an array must be made first
    return Needs(*np.array(rows).T[:, :, None])


def expect(table: CandidateTable, needs: Needs, quality: Matrix, tokens: Matrix) -> Expectations:
    """Utility and its parts for a batch: v * quality - cost - s * seconds (DESIGN, decision rule).

    Args:
        table: the candidates.
        needs: of the B requests.
        quality: [B, C].
        tokens: [B, C] expected tokens of the answer, before the requests' own limits.
    """
    tokens = np.minimum(tokens, needs.max_output_tokens)
    cost = needs.prompt_tokens * table.input_usd + tokens * table.output_usd
    utility = needs.answer_value_usd * quality - cost
    if not table.timed:
        return Expectations(quality, cost, np.zeros_like(cost), utility, tokens)
    seconds = table.first_token_seconds + tokens * table.seconds_per_token
    return Expectations(quality, cost, seconds, utility - needs.second_value_usd * seconds, tokens)


def choose(table: CandidateTable, asks: Sequence[Ask], scores: Scores) -> tuple[Expectations, list[Outcome]]:
    """Decides a batch by the scores; requests whose limits exclude every candidate get NoCandidate."""
    expected = expect(table, needs_of(asks), scores.quality.astype(np.float64), scores.output_tokens.astype(np.float64))
    order = np.argsort(-expected.utility, axis=1, kind="stable").tolist()
    novelty, offered = scores.novelty.tolist(), table.offered.tolist()
    outcomes: list[Outcome] = []
    for row, ask in enumerate(asks):
        ranking = order[row]
        reasons = (Reason.LEARNED, Reason.NOVEL) if novelty[row] > NOVEL_FROM else (Reason.LEARNED,)
        admitted: Mask | None = None
        if ask.admitted is not None or ask.limited:
            admitted = _admissible(table, ask, expected, row)
            admissible = admitted.tolist()
            # What the operator does not offer at all is no constraint of the request's.
            best = next(index for index in ranking if offered[index])
            ranking = [index for index in ranking if admissible[index]]
            if not ranking:
                outcomes.append(no_candidate(table, ask, expected, row, table.latency_known))
                continue
            if ranking[0] != best:
                reasons = (*reasons, Reason.CONSTRAINT)
        outcomes.append(Choice(ranking, reasons, novelty[row], admitted=admitted))
    return expected, outcomes


def degrade(table: CandidateTable, asks: Sequence[Ask]) -> tuple[Expectations, list[Outcome]]:
    """Decides a batch without scores: the safe candidate, or if the request excludes it, the best one by prior.

    Limits on quality, cost and time are not tested, since nothing is known of them; names, capabilities and the
    context window are.
    """
    shape = (len(asks), len(table))
    prior = np.broadcast_to(table.prior_quality, shape)
    expected = expect(table, needs_of(asks), prior, np.broadcast_to(table.mean_output_tokens, shape))
    by_prior = np.argsort(-table.prior_quality, kind="stable").tolist()
    preferred = [table.safe, *(index for index in by_prior if index != table.safe)]
    outcomes: list[Outcome] = []
    for row, ask in enumerate(asks):
        admissible = _named(table, ask)
        ranking = [index for index in preferred if admissible[index]]
        outcomes.append(
            Choice(ranking, (Reason.DEGRADED,), 1.0, admitted=admissible)
            if ranking
            else no_candidate(table, ask, expected, row, table.latency_known)
        )
    return expected, outcomes


def no_candidate(table: CandidateTable, ask: Ask, expected: Expectations, row: int, latency_known: Mask) -> NoCandidate:
    """Says which limit it was that left no candidate: the first that excludes all which the ones before it left."""
    left = table.offered if ask.admitted is None else ask.admitted
    if not left.any():
        return NoCandidate(
            "constraints: no candidate is allowed, not denied and has the capabilities asked for (constraints, images, "
            "audio, files or tools of the request); allow more candidates or give them the capability in the config."
        )
    if not (left & fits(table, ask)).any():
        return NoCandidate(
            f"prompt_tokens: {ask.prompt_tokens} tokens fit no admissible candidate's context window; shorten the "
            "prompt or allow a candidate with a larger window."
        )
    left = left & fits(table, ask)
    steps = (
        ("min_quality", expected.quality[row] >= ask.terms.min_quality, "lower it"),
        ("max_cost_usd", expected.cost[row] <= ask.terms.max_cost_usd, "raise it"),
        ("max_latency_ms", _quick(latency_known, ask, expected.seconds[row]), "raise it, or give the latency figures"),
    )
    for field, passing, remedy in steps:
        if not (left & passing).any():
            return NoCandidate(f"{field}: no admissible candidate is within this limit; {remedy}.")
        left = left & passing
    raise AssertionError("asked for the reason why no candidate is left, but one is")


def over_budget(closed: Closed, admitted: Mask, ask: Ask) -> OverBudget:
    """Says which budget it is that refuses a request, and when it opens: of its candidates' ones, the next to open.

    Args:
        closed: to its segment.
        admitted: [C] the candidates that it allows, all of them refused.
        ask: the request.
    """
    refusals = [refusal for refusal, left in zip(closed.refusals, admitted.tolist(), strict=True) if left and refusal]
    first = min(refusals, key=lambda refusal: refusal.wait_seconds)
    opens = datetime.fromtimestamp(ceil(first.opens_unix), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return OverBudget(first.budget, ask.segment, first.wait_seconds, opens)


def _named(table: CandidateTable, ask: Ask) -> Mask:
    left = table.offered if ask.admitted is None else ask.admitted
    return left & fits(table, ask)


def _admissible(table: CandidateTable, ask: Ask, expected: Expectations, row: int) -> Mask:
    left = _named(table, ask)
    if ask.limited:
        left = left & (expected.quality[row] >= ask.terms.min_quality) & (expected.cost[row] <= ask.terms.max_cost_usd)
        left &= _quick(table.latency_known, ask, expected.seconds[row])
    return left


def fits(table: CandidateTable, ask: Ask) -> Mask:
    """[C] whose context window holds the prompt and its answer."""
    answer = 0.0 if ask.max_output_tokens == np.inf else ask.max_output_tokens
    fitting: Mask = ask.prompt_tokens + answer <= table.context_window
    return fitting


def _quick(latency_known: Mask, ask: Ask, seconds: Matrix) -> Mask:
    # A candidate without latency figures would pass every limit at 0 seconds: unknown is not fast.
    if ask.terms.max_seconds == np.inf:
        return np.ones(len(latency_known), np.bool_)
    quick: Mask = latency_known & (seconds <= ask.terms.max_seconds)
    return quick
