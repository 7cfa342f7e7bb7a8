"""What was expected of the callers' own models, or of one and the same candidate, beside what was expected of the choice."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from sidecar.decisions.sums import Matrix
from sidecar.ledger.rows import ONE_BYTE, PARTS, Decision
from sidecar.ledger.store import Store, Which

# Decisions that are read at once.
PAGE = 2048
QUALITY, COST, SECONDS, UTILITY = range(PARTS)


class Pairs(NamedTuple):
    """N decisions over the same candidates, each with the index of another way to answer: as a rule the caller's own model.

    Attributes:
        decisions: [N].
        current: [N] index of the other model; -1: it is none of the candidates, so nothing was expected of it.
        chosen: [N] index of the choice.
        expected: [N, 2, 4] quality, cost in USD, seconds and utility in USD: of the other model (zeros where it is
            none of the candidates), and of the choice.
    """

    decisions: Sequence[Decision]
    current: Sequence[int]
    chosen: Sequence[int]
    expected: Matrix

    def admissible(self, row: int) -> bool:
        """Whether the other model was; also if that was not recorded."""
        decision, current = self.decisions[row], self.current[row]
        if decision.ranking is None:
            return True
        return current in (decision.ranking if len(decision.candidates) <= ONE_BYTE else decision.admissible())


def pages(store: Store, which: Which, aliases: Mapping[str, str], against: str = "") -> Iterator[list[Pairs]]:
    """Decisions in order of time, some thousand at once, those over the same candidates together.

    Args:
        store: where they are.
        which: of them.
        aliases: other names of candidates.
        against: a candidate's name, model or alias, with which all applied decisions are paired. Empty: log-only decisions,
            each with its caller's own model.

    Raises:
        StoreAway: the store does not answer.
    """
    which = which._replace(log_only=not against)
    while page := store.select(which, PAGE):
        # One set of candidates, mostly: a new bundle brings another.
        together = groupby(sorted(page, key=_set_of), key=_set_of)
        all_pairs = (
            paired([one for one in some if one.applied or not against], aliases, against) for _, some in together
        )
        yield [pairs for pairs in all_pairs if pairs is not None]
        which = which._replace(since=page[-1].decision_id + b"\0")  # longer than an id, so the next one in order


def paired(decisions: Sequence[Decision], aliases: Mapping[str, str], against: str = "") -> Pairs | None:
    """Pairs of decisions over the same candidates; None if there are none."""
    if not decisions:
        return None
    names, models = decisions[0].candidates, decisions[0].models
    index = {name: at for at, name in enumerate(names)}
    called = {**{alias: index[name] for alias, name in aliases.items() if name in index}, **index}
    called |= {model: at for at, model in enumerate(models)}
    current = [called.get(against or decision.current_model, -1) for decision in decisions]
    chosen = [index[decision.candidate] for decision in decisions]
    rows = np.arange(len(decisions))
    expected = np.frombuffer(b"".join([decision.expected for decision in decisions]), "<f4")
    expected = expected.reshape(len(decisions), PARTS, len(names)).astype(np.float64)
    known = np.array(current) >= 0
    both = np.stack([np.where(known[:, None], expected[rows, :, current], 0.0), expected[rows, :, chosen]], axis=1)
    return Pairs(decisions, current, chosen, both)


def _set_of(decision: Decision) -> int:
    return decision.candidate_set_id
