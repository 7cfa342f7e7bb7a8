"""When a server would be done with one more call: what only somebody could know who sees into it, and into the future."""

import heapq
from math import inf
from typing import NamedTuple

from benchmarks.fleet.candidates import Candidate
from benchmarks.fleet.servers import State


class Outlook(NamedTuple):
    """Of a call that came now, if none came after it.

    Attributes:
        wait_s: virtual seconds until it gets a slot.
        end_s: until its answer is complete.
    """

    wait_s: float
    end_s: float


def outlook(candidate: Candidate, state: State, prompt_tokens: float, tokens: float) -> Outlook:
    """Plays the server's next seconds: exact, with the calls that it has and this one at the end of its queue.

    Args:
        candidate: whose server it is.
        state: of the server now.
        prompt_tokens: of the call.
        tokens: of its answer.
    """
    reading = [(left, answer, False) for left, answer in state.reading]
    heapq.heapify(reading)
    writing = list(state.writing)  # on a clock of tokens that stands at 0 now; see servers.Server
    heapq.heapify(writing)
    queue = [(candidate.prefill_s(prompt), answer) for prompt, answer in state.waiting]
    queue.append((candidate.prefill_s(prompt_tokens), tokens))
    running, at = len(reading) + len(writing), 0
    now = clock = wait_s = 0.0
    own = inf  # where on the clock its answer ends
    while True:
        while at < len(queue) and running < candidate.slots:
            prefill_s, answer = queue[at]
            at, running = at + 1, running + 1
            if at == len(queue):
                wait_s = now
            heapq.heappush(reading, (now + prefill_s, answer, at == len(queue)))
        token_s = candidate.token_s_at(running)
        read = reading[0][0] if reading else inf
        written = now + (writing[0] - clock) * token_s if writing else inf
        if read <= written:
            clock += (read - now) / token_s
            now, answer, last = heapq.heappop(reading)
            heapq.heappush(writing, clock + answer)
            own = clock + answer if last else own
        else:
            clock, now, running = heapq.heappop(writing), written, running - 1
            if clock >= own:
                return Outlook(wait_s, now)
