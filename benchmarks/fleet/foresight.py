"""The decision rule with knowledge that no router has: what the servers will do with what they have, to the second."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.fleet.gateway import Gateway
from benchmarks.fleet.outlook import outlook
from benchmarks.fleet.scene import Expected
from benchmarks.fleet.servers import Server
from benchmarks.fleet.workload import Questions


@dataclass(frozen=True)
class Prices:
    """What the rule weighs.

    Attributes:
        answer_value_usd: what an acceptable answer is worth.
        second_value_usd: what a second until the answer costs.
        congestion: how many times a second counts in which the call waits for a slot, as in fleet.congestion_factor.
        drag: how many times a second counts by which the call slows the streams beside it; 0: only its own time counts.
        thrift: how many times the cost of the call counts; 0: money is no object.
    """

    answer_value_usd: float
    second_value_usd: float
    congestion: float = 1.0
    drag: float = 0.0
    thrift: float = 1.0


class Foresight:
    """Ranks by utility, with the exact wait and the exact speed of every server if nobody came after this request.

    Args:
        questions: what is asked; only candidates whose answers are known are ranked.
        knowledge: what is taken for true of the answers.
        prices: of the rule.
    """

    def __init__(self, questions: Questions, knowledge: Expected, prices: Prices) -> None:
        self._questions = questions
        self._able = [row.nonzero()[0].tolist() for row in questions.answerable]
        self._prompts: list[float] = questions.prompt_tokens.tolist()
        self._tokens: list[list[float]] = knowledge.tokens.tolist()
        cost = questions.prompt_tokens[:, None] * questions.input_usd + knowledge.tokens * questions.output_usd
        self._worth: list[list[float]] = (prices.answer_value_usd * knowledge.quality - prices.thrift * cost).tolist()
        self._prices = prices

    def rank(self, question: int, gateway: Gateway) -> Sequence[int]:
        """See policies.Policy."""
        utility = {
            index: self._worth[question][index]
            - self._prices.second_value_usd * self._seconds(question, index, gateway.servers[index])
            for index in self._able[question]
        }
        return sorted(utility, key=lambda index: -utility[index])

    def _seconds(self, question: int, index: int, server: Server) -> float:
        """What the call costs in seconds: its own, and those of others as far as they count."""
        candidate = server.candidate
        seen = outlook(candidate, server.state(), self._prompts[question], self._tokens[question][index])
        service = seen.end_s - seen.wait_s
        beside = min(server.running, candidate.slots - 1)
        slowed = beside * (1.0 - candidate.token_s_at(max(1, beside)) / candidate.token_s_at(beside + 1))
        return seen.wait_s * self._prices.congestion + service * (1.0 + self._prices.drag * slowed)
