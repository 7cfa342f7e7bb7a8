"""What a router would have chosen on recorded outcomes, and what that would have brought."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.outcomes import Outcomes
from export.prices import Price
from sidecar.bundle.manifest import TrainedCandidate
from sidecar.config import CandidateConfig, Config
from sidecar.routing.candidates import CandidateTable, join
from sidecar.routing.decision import Needs, expect
from sidecar.types import Floats

Chosen = NDArray[np.int64]
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Forecast:
    """What a router expects of N prompts and C candidates.

    Attributes:
        quality: [N, C].
        unshrunk: [N, C] quality before novelty shrank it; the same array where nothing does.
        output_tokens: [N, C].
        embedding: [N, D]; empty if the router has none.
        novelty: [N]; zeros if the router has none.
    """

    quality: Floats
    unshrunk: Floats
    output_tokens: Floats
    embedding: Floats
    novelty: Floats


@dataclass(frozen=True)
class Ground:
    """Recorded outcomes with their costs: the ground on which routers are compared.

    A candidate that was not run on a prompt cannot be judged there, so no router may choose it there.

    Attributes:
        outcomes: N prompts.
        prices: of the C candidates.
        cost: [N, C] USD of the calls as they were; with the candidate's mean length where the length is unknown.
    """

    outcomes: Outcomes
    prices: tuple[Price, ...]
    cost: Matrix

    @property
    def table(self) -> CandidateTable:
        """The candidates as the decision rule takes them, at these prices."""
        pairs = list(zip(self.outcomes.candidates, self.prices, strict=True))
        trained = [
            TrainedCandidate(
                name=name,
                prior_quality=0.0,
                mean_output_tokens=0.0,
                input_usd_per_mtok=price.input_per_mtok,
                output_usd_per_mtok=price.output_per_mtok,
            )
            for name, price in pairs
        ]
        return join(Config(candidates=tuple(CandidateConfig(name=name) for name, _ in pairs)), trained)

    def choose(self, forecast: Forecast, answer_value_usd: float) -> Chosen:
        """[N] index of the candidate of largest utility, by the decision rule that serves."""
        rows = len(self.outcomes)
        needs = Needs(
            self.outcomes.prompt_tokens[:, None].astype(np.float64),
            np.full((rows, 1), np.inf),
            np.full((rows, 1), answer_value_usd),
            np.zeros((rows, 1)),
        )
        expected = expect(
            self.table, needs, forecast.quality.astype(np.float64), forecast.output_tokens.astype(np.float64)
        )
        chosen: Chosen = np.where(np.isnan(self.outcomes.quality), -np.inf, expected.utility).argmax(axis=1)
        return chosen

    def quality_of(self, chosen: Chosen) -> Floats:
        """[N] quality of the chosen candidates' answers."""
        return np.take_along_axis(self.outcomes.quality, chosen[:, None], axis=1)[:, 0]

    def cost_of(self, chosen: Chosen) -> Matrix:
        """[N] USD of the chosen candidates' calls."""
        cost: Matrix = np.take_along_axis(self.cost, chosen[:, None], axis=1)[:, 0]
        return cost

    def single_quality(self) -> Matrix:
        """[C] mean quality of each candidate where it was run."""
        means: Matrix = np.nanmean(self.outcomes.quality.astype(np.float64), axis=0)
        return means

    def single_cost(self) -> Matrix:
        """[C] mean USD of a call to each candidate where it was run."""
        known = ~np.isnan(self.outcomes.quality)
        means: Matrix = np.where(known, self.cost, 0.0).sum(axis=0) / known.sum(axis=0)
        return means

    def oracle_quality(self) -> float:
        """Mean quality if the best candidate were known beforehand."""
        return float(np.nanmax(self.outcomes.quality, axis=1).mean())


def ground(outcomes: Outcomes, prices: Sequence[Price], usual_tokens: Floats) -> Ground:
    """Recorded outcomes with their costs.

    Args:
        outcomes: N prompts.
        prices: of the C candidates.
        usual_tokens: [C] stands for answer lengths that the data does not tell.
    """
    known = ~np.isnan(outcomes.output_tokens)
    counts = known.sum(axis=0)
    means = np.where(
        counts > 0, np.where(known, outcomes.output_tokens, 0.0).sum(axis=0) / np.maximum(counts, 1), usual_tokens
    )
    tokens = np.where(known, outcomes.output_tokens, means).astype(np.float64)
    input_usd, output_usd = np.array(prices, np.float64).T / 1e6
    return Ground(outcomes, tuple(prices), outcomes.prompt_tokens[:, None] * input_usd + tokens * output_usd)
