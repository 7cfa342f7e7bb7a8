"""The simulated candidates: six of the LLMs of the data set, with speeds as their hosts publish them.

Prices and answers are recorded ones (`llms.json`, `routing_test`); no data set has latencies, so these are assumed: times to
the first token and tokens per second of one stream in the range that public leaderboards of hosts show for models of that
size. A stream slows down as more of them share the server (continuous batching), by half to all of its time per token.
Slots are chosen so that the favourite of the load-blind router saturates first and the others have room for a part of
its traffic, none of them for all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One candidate and the server behind it; seconds are virtual ones.

    Attributes:
        name: in the bundle and in the data set.
        label: in tables.
        hosted: by a provider, who offers rate-limit headers; else self-hosted, with /metrics of vLLM.
        slots: streams that run at once; further requests queue.
        first_token_s: time to the first token of an empty prompt, once a slot is free.
        prompt_tokens_per_s: rate at which a prompt is read before the first token.
        token_s: time per token of a stream that is alone.
        slowdown: by which part of it a token takes longer when all slots are busy; in between in proportion.
        limit_per_s: requests per second beyond which the provider answers 429; a burst of ten seconds is let through.
    """

    name: str
    label: str
    hosted: bool
    slots: int
    first_token_s: float
    prompt_tokens_per_s: float
    token_s: float
    slowdown: float
    limit_per_s: float = inf

    def token_s_at(self, running: int) -> float:
        """Time per token with so many streams."""
        share = (running - 1) / (self.slots - 1) if self.slots > 1 else 0.0
        return self.token_s * (1.0 + self.slowdown * max(0.0, share))

    def prefill_s(self, prompt_tokens: float) -> float:
        """Time to the first token, once a slot is free."""
        return self.first_token_s + prompt_tokens / self.prompt_tokens_per_s

    def capacity_per_s(self, prompt_tokens: float, tokens: float) -> float:
        """Requests of this size that the server completes per second with all slots busy."""
        return self.slots / (self.prefill_s(prompt_tokens) + tokens * self.token_s_at(self.slots))


FLEET = (
    Candidate(
        name="gemini-1.5-pro-002", label="pro", hosted=True, slots=24,
        first_token_s=0.70, prompt_tokens_per_s=6000, token_s=1 / 60, slowdown=0.5, limit_per_s=20.0,
    ),
    Candidate(
        name="gemini-1.5-flash-002", label="flash", hosted=True, slots=20,
        first_token_s=0.35, prompt_tokens_per_s=12000, token_s=1 / 80, slowdown=0.5, limit_per_s=40.0,
    ),
    Candidate(
        name="llama-3.1-70b-instruct", label="llama-70b", hosted=False, slots=16,
        first_token_s=0.45, prompt_tokens_per_s=3000, token_s=1 / 60, slowdown=1.0,
    ),
    Candidate(
        name="deepseek-coder-v2", label="deepseek", hosted=False, slots=24,
        first_token_s=0.35, prompt_tokens_per_s=5000, token_s=1 / 120, slowdown=0.8,
    ),
    Candidate(
        name="llama-3.1-8b-instruct", label="llama-8b", hosted=False, slots=24,
        first_token_s=0.30, prompt_tokens_per_s=15000, token_s=1 / 120, slowdown=0.8,
    ),
    Candidate(
        name="qwen1.5-72b-chat", label="qwen-72b", hosted=False, slots=8,
        first_token_s=0.50, prompt_tokens_per_s=3000, token_s=1 / 40, slowdown=1.0,
    ),
)  # fmt: skip


def enlarged(fleet: Sequence[Candidate], times: float) -> list[Candidate]:
    """The same fleet with so many times the slots and limits: as fast, for so many times the requests."""
    return [replace(one, slots=max(1, round(one.slots * times)), limit_per_s=one.limit_per_s * times) for one in fleet]
