"""Small candidate tables and requests for the tests of this folder."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sidecar.bundle.manifest import TrainedCandidate
from sidecar.config import CandidateConfig, Config
from sidecar.fleet.closed import Closed, Refusal
from sidecar.routing.ask import Ask
from sidecar.routing.candidates import CandidateTable, join
from sidecar.routing.policy import Terms
from sidecar.types import Scores

TRAINED = tuple(
    TrainedCandidate(
        name=name,
        prior_quality=prior,
        mean_output_tokens=100.0,
        input_usd_per_mtok=price,
        output_usd_per_mtok=4 * price,
    )
    for name, prior, price in (("small", 0.5, 0.1), ("medium", 0.7, 0.5), ("large", 0.9, 5.0))
)


def table_of(*entries: CandidateConfig, safe: str = "") -> CandidateTable:
    return join(Config(candidates=entries, safe_candidate=safe), TRAINED)


OPENS_UNIX = 1_800_000_000.5  # 2027-01-15 08:00:00 and a half, UTC


def closed_of(seconds: Sequence[float], refused: Sequence[bool] = ()) -> Closed:
    """Candidates whose budgets open after so many seconds; 0: is open. The budgets are called after their candidates."""
    refusing = list(refused) or [False] * len(seconds)
    refusals = [
        Refusal(f"of {row.name}", wait, OPENS_UNIX + wait) if refuses else None
        for row, wait, refuses in zip(TRAINED, seconds, refusing, strict=True)
    ]
    waits = np.array(seconds)
    return Closed(waits > 0.0, waits, np.array(refusing), tuple(refusals), ())


def ask_for(**changes: Any) -> Ask:
    plain = Ask("text", "", "", "test", Terms(0.01), 100, math.inf, None, False, 0.0, 0.0)  # noqa: FBT003 - tuple field
    return plain._replace(**changes)


def scores_of(quality: Sequence[Sequence[float]], tokens: float = 100.0, novelty: float = 0.0) -> Scores:
    matrix = np.array(quality, np.float32)
    return Scores(
        matrix, np.full_like(matrix, tokens), np.full(len(matrix), novelty, np.float32), tokenize_s=1e-5, score_s=1e-5
    )
