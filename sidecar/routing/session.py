"""Turns of a conversation, and what it costs to change their model: the prompt cache that is lost."""

from typing import NamedTuple

from sidecar.routing.candidates import CandidateTable


class Held(NamedTuple):
    """Where a session stands before its next turn.

    Attributes:
        candidate: output index of the one that answered the turn before; -1 if it is none of ours.
        cached_tokens: tokens of the next prompt that this candidate has in its cache.
        spent_usd: what changes of the model have cost the session so far.
        cost_usd: what its calls were expected to cost so far, changes included.
        failed: whether the turn before brought no answer, so that leaving costs nothing.
    """

    candidate: int
    cached_tokens: float
    spent_usd: float = 0.0
    cost_usd: float = 0.0
    failed: bool = False


def worth_of_cache(table: CandidateTable, held: Held, prompt_tokens: float) -> float:
    """USD that the held candidate's cache saves on the next turn, and that leaving it loses."""
    if held.candidate < 0 or held.failed:
        return 0.0
    return min(held.cached_tokens, prompt_tokens) * float(table.cache_saving_usd[held.candidate])


def may_leave(held: Held, loss_usd: float, stay_usd: float, max_share: float) -> bool:
    """Whether the session can afford to lose a cache.

    Args:
        held: where it stands.
        loss_usd: what leaving loses.
        stay_usd: what this turn would cost if it stayed.
        max_share: most that all changes may cost, as a share of what the calls would cost without them.
    """
    if held.failed or loss_usd <= 0.0:
        return True
    return held.spent_usd + loss_usd <= max_share * (held.cost_usd - held.spent_usd + stay_usd)
