"""The least that any router leaves over: the whole fleet as one vessel, from which work flows as fast as all slots allow.

A request takes a part of one server's time: with all slots busy, server c answers it in h[c] seconds' worth. Give every
server a price, all prices together 1: what all servers get done in a second is then worth at most 1, and the request is
worth at least the least of price[c] * h[c], whoever answers it. So the worth of all that has come, less a second's worth for
each second with anything left, is the least that any router leaves over. That holds for any prices; those that make the
requests worth most (the dual of the linear program that spreads them best) give the tightest bound.
"""

from collections.abc import Sequence

import numpy as np

from benchmarks.fleet.candidates import Candidate
from benchmarks.fleet.workload import Matrix, Questions
from benchmarks.schedule import Seconds

ROUNDS, RATE, COOLING = 2000, 0.05, 50.0


def taken(fleet: Sequence[Candidate], questions: Questions, tokens: Matrix) -> Matrix:
    """[N, C] seconds of the whole server that each answer takes; inf where the candidate has none.

    Args:
        fleet: the candidates.
        questions: what is asked.
        tokens: [N, C] lengths of the answers.
    """
    prompts = questions.prompt_tokens
    seconds = [
        (one.first_token_s + prompts / one.prompt_tokens_per_s + tokens[:, index] * one.token_s_at(one.slots))
        / one.slots
        for index, one in enumerate(fleet)
    ]
    return np.where(questions.answerable, np.stack(seconds, axis=1), np.inf)


def prices(work: Matrix) -> Seconds:
    """[C] prices, together 1, that make the requests worth about the most; found by raising those of the sought-after.

    Args:
        work: [N, C] seconds of the server, inf where the candidate does not answer; requests that nobody answers do not count.
    """
    work = work[np.isfinite(work).any(axis=1)]
    price = np.full(work.shape[1], 1.0 / work.shape[1])
    best, most = price, 0.0
    rows = np.arange(len(work))
    for turn in range(ROUNDS):
        worth = price * work
        choice = worth.argmin(axis=1)
        if (mean := float(worth[rows, choice].mean())) > most:
            best, most = price, mean
        load = np.bincount(choice, weights=work[rows, choice], minlength=len(price))
        price = price * np.exp(RATE / (1.0 + turn / COOLING) * (load / load.mean() - 1.0))
        price /= price.sum()
    return best


def worth(work: Matrix, price: Seconds) -> Seconds:
    """[N] seconds of the whole fleet that each request takes at least; 0 where none of these candidates answers it.

    Args:
        work: [N, C] seconds of the server, inf where the candidate does not answer.
        price: [C], together 1.
    """
    least: Seconds = (price * work).min(axis=1)
    return np.where(np.isfinite(least), least, 0.0)


def backlog_over(arrivals: Seconds, worth: Seconds, more_than: float) -> list[tuple[float, float]]:
    """Stretches of time in which more than that is left over.

    Args:
        arrivals: [R] ascending.
        worth: [R] seconds of the whole fleet that each request takes.
        more_than: seconds of the whole fleet.
    """
    found: list[tuple[float, float]] = []
    left, last, since = 0.0, 0.0, None
    for time, more in zip(arrivals.tolist(), worth.tolist(), strict=True):
        if since is not None and left - (time - last) <= more_than:
            found.append((since, last + left - more_than))
            since = None
        left, last = max(0.0, left - (time - last)) + more, time
        if since is None and left > more_than:
            since = time
    return found if since is None else [*found, (since, last + left - more_than)]
