"""The decision rule over a batch of a few plain requests, in plain numbers.

For a handful of requests over a few candidates it costs more to have numpy begin a sum than to work it out, so here a
request is one loop over numbers. What comes out is the same to the last bit as what Assignment works out with arrays, and
takes the same draws: tests/routing/test_few.py.
"""

from collections.abc import Sequence
from math import inf
from struct import Struct

import numpy as np

from sidecar.routing.ask import Ask
from sidecar.routing.candidates import CandidateTable
from sidecar.routing.decision import Expectations, Outcome
from sidecar.routing.plain import Plain
from sidecar.routing.room import Room
from sidecar.types import Scores

# Where arrays catch up, as measured with 14 candidates: in requests, and in numbers of one column.
MOST_REQUESTS, MOST_CELLS = 3, 96
PARTS = len(Expectations._fields)


class Few:
    """Assigns requests that limit nothing and belong to no session, while all open candidates take part alike.

    Args:
        table: the candidates.
        choose: chooses for one of them.

    Attributes:
        most: requests of one batch.
    """

    def __init__(self, table: CandidateTable, choose: Plain) -> None:
        count = len(table)
        self.most = min(MOST_REQUESTS, MOST_CELLS // count)
        self._count = count
        self._choose = choose
        self._input_usd: list[float] = table.input_usd.tolist()
        self._output_usd: list[float] = table.output_usd.tolist()
        self._packs = [Struct(f"{PARTS * rows * count}d").pack for rows in range(self.most + 1)]

    def choose(
        self, asks: Sequence[Ask], scores: Scores, room: Room, blur: float, congestion: float
    ) -> tuple[Expectations, list[Outcome]]:
        """Decides a batch of at most `most`; see Assignment.choose.

        Args:
            asks: plain ones, B.
            scores: of them, [B, C].
            room: what is left of the fleet; an even one.
            blur: see Live.
            congestion: see Live.
        """
        choose = self._choose
        outcomes: list[Outcome] = []
        quality: list[float] = []
        cost: list[float] = []
        seconds: list[float] = []
        utility: list[float] = []
        tokens: list[float] = []
        rows = zip(asks, scores.quality.tolist(), scores.output_tokens.tolist(), scores.novelty.tolist(), strict=True)
        for ask, of_quality, of_tokens, novelty in rows:
            limit, prompt = ask.max_output_tokens, ask.prompt_tokens
            value, price = ask.terms.answer_value_usd, ask.terms.second_value_usd
            if limit != inf:
                of_tokens = [min(amount, limit) for amount in of_tokens]  # noqa: PLW2901 - as the request limits it
            of_cost = [
                prompt * input_usd + amount * output_usd
                for amount, input_usd, output_usd in zip(of_tokens, self._input_usd, self._output_usd, strict=True)
            ]
            of_seconds = [
                first + amount * more
                for amount, first, more in zip(of_tokens, room.first_token_seconds, room.seconds_per_token, strict=True)
            ]
            unloaded = loaded = [
                value * good - usd - price * long
                for good, usd, long in zip(of_quality, of_cost, of_seconds, strict=True)
            ]
            price *= congestion
            if room.queued:
                loaded = [usd - price * wait for usd, wait in zip(unloaded, room.wait, strict=True)]
                of_seconds = [long + wait for long, wait in zip(of_seconds, room.wait, strict=True)]
            outcomes.append(choose(unloaded, loaded, novelty, room, blur * price))
            quality += of_quality
            cost += of_cost
            seconds += of_seconds
            utility += loaded
            tokens += of_tokens
        packed = self._packs[len(asks)](*quality, *cost, *seconds, *utility, *tokens)
        return Expectations(*np.frombuffer(packed).reshape(PARTS, len(asks), self._count)), outcomes
