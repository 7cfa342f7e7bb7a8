"""What a request asks for, in the core's own terms."""

from typing import NamedTuple

from sidecar.routing.candidates import Mask
from sidecar.routing.policy import Terms


class Ask(NamedTuple):
    """One request after intake: checked, with its text chosen and its limits as numbers.

    Attributes:
        text: the window to score.
        envelope: kind of the envelope that was peeled off.
        segment: in force.
        policy: name of the policy in force, or `inline`.
        terms: the policy, tightened by the request's limits.
        prompt_tokens: of the whole prompt, given or estimated.
        max_output_tokens: the answer's limit; inf if there is none.
        admitted: [C] candidates that the request's names and capabilities leave; None if it named nothing and every
            candidate is offered.
        limited: whether any limit beyond `admitted` needs to be tested.
        arrived: clock reading at arrival, in seconds.
        ready: clock reading at the end of intake, in seconds.
        session: names the conversation; empty if the caller does not say.
        current_model: the model that answers if the sidecar does not decide; in a session, the one of the turn before.
        cached_tokens: tokens of the prompt that this model has in its cache; None if the caller does not say.
        log_only: whether the decision is only recorded.
        ranking_limit: candidates that the reply tells of, best first; None: all that could be chosen.
    """

    text: str
    envelope: str
    segment: str
    policy: str
    terms: Terms
    prompt_tokens: int
    max_output_tokens: float
    admitted: Mask | None
    limited: bool
    arrived: float
    ready: float
    session: str = ""
    current_model: str = ""
    cached_tokens: int | None = None
    log_only: bool = False
    ranking_limit: int | None = None
