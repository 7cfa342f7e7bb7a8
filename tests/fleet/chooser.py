"""A decision rule by time alone, as small as can be: what the fleet's figures are worth is seen by what it does."""

import random
from collections.abc import Sequence

from sidecar.fleet.view import Fleet


def assign(fleet: Fleet, amount: int, worth: Sequence[float] = (), rng: random.Random | None = None) -> list[int]:
    """Chooses for a batch, row by row: the least of wait, time to the first token, and -worth in seconds.

    Args:
        fleet: as read.
        amount: requests.
        worth: [C] what a candidate is worth beside its time, in seconds; empty: all the same.
        rng: draws who may choose a candidate whose share is below 1.
    """
    backlog, step, first = fleet.backlog.tolist(), fleet.step_seconds.tolist(), fleet.first_token_seconds.tolist()
    quota, share, closed = fleet.quota.tolist(), fleet.share.tolist(), fleet.open.tolist()
    value = list(worth) or [0.0] * len(step)
    chosen = []
    for _ in range(amount):
        costs = [
            float("inf")
            if closed[c] or quota[c] <= 0.0 or (rng is not None and rng.random() >= share[c])
            else (max(0.0, backlog[c]) * step[c] if step[c] else 0.0) + first[c] - value[c]
            for c in range(len(step))
        ]
        best = costs.index(min(costs))
        chosen.append(best)
        backlog[best] += fleet.crowd
        quota[best] -= 1.0
    return chosen
