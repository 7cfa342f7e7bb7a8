"""The stores of the ledger's tests, and log-only decisions."""

from collections.abc import Sequence

import numpy as np

from sidecar.ledger.noted import Noted, Origin
from sidecar.routing.decision import Choice, Expectations, Reason
from tests.ledger.conftest import config, connect, embedded, postgres, store  # noqa: F401 - fixtures
from tests.ledger.made import NOW, ORIGIN, noted

# Quality, cost and seconds of the candidates small and large, for every request.
QUALITY, COST, SECONDS = (0.5, 0.75), (0.25, 0.5), (1.0, 2.0)
UTILITY = (1.0, 4.0)


def log_only(
    ids: Sequence[str],
    current: Sequence[str],
    *,
    chosen: int = 1,
    origin: Origin = ORIGIN,
    ranking: Sequence[int] | None = None,
    utility: Sequence[Sequence[float]] | None = None,
    **more: object,
) -> Noted:
    """Decisions that were only recorded; the callers use these models."""
    batch = noted(ids, origin=origin, chosen=chosen, **more)  # type: ignore[arg-type]
    size = len(ids)
    asks = [ask._replace(log_only=True, current_model=model) for ask, model in zip(batch.asks, current, strict=True)]
    columns = [np.tile(np.array(row, np.float64), (size, 1)) for row in (QUALITY, COST, SECONDS, UTILITY)]
    if utility is not None:
        columns[3] = np.array(utility, np.float64)
    outcomes = batch.outcomes
    if ranking is not None:
        outcomes = [Choice(list(ranking), (Reason.LEARNED,), 0.5)] * size
    return batch._replace(asks=asks, outcomes=outcomes, expected=Expectations(*[*columns, columns[0]]))


__all__ = ["NOW", "log_only"]
