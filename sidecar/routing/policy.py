"""How quality, cost and time are traded."""

import math
import sys
from typing import NamedTuple

import msgspec

from sidecar.errors import InvalidRequest

# What an answer or a second may be worth. Utilities go out as floats of 32 bits, which end at 3e38: beyond them a reply
# would rank by infinities.
MOST_USD = 1e9


class Terms(NamedTuple):
    """A policy as numbers, ready for the decision: no option is missing, an absent limit is infinite.

    Attributes:
        answer_value_usd: what one acceptable answer is worth.
        second_value_usd: what one second of waiting costs.
        min_quality: candidates below are not admissible; 0 is no floor.
        max_cost_usd: candidates above are not admissible; inf is no limit.
        max_seconds: candidates above are not admissible; inf is no limit.
    """

    answer_value_usd: float
    second_value_usd: float = 0.0
    min_quality: float = 0.0
    max_cost_usd: float = math.inf
    max_seconds: float = math.inf

    def tightened(self, min_quality: float, max_cost_usd: float, max_seconds: float) -> "Terms":
        """These terms under further limits; of two limits the tighter one holds."""
        return Terms(
            self.answer_value_usd,
            self.second_value_usd,
            max(self.min_quality, min_quality),
            min(self.max_cost_usd, max_cost_usd),
            min(self.max_seconds, max_seconds),
        )


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A policy as the configuration states it; see Terms for the fields."""

    answer_value_usd: float
    second_value_usd: float = 0.0
    min_quality: float = 0.0
    max_cost_usd: float | None = None
    max_latency_ms: int | None = None

    def terms(self, field: str, *, quality_free: bool = False) -> Terms:
        """Checks the policy and gives it as Terms.

        Args:
            field: what the policy is called where it came from; error messages begin with it.
            quality_free: allow an objective that leaves quality out.

        Raises:
            InvalidRequest: a value is negative, not finite or out of range, or quality has no weight.
        """
        checked_number(f"{field}.answer_value_usd", self.answer_value_usd, MOST_USD)
        checked_number(f"{field}.second_value_usd", self.second_value_usd, MOST_USD)
        if self.answer_value_usd == 0.0 and not quality_free:
            raise InvalidRequest(
                f"{field}.answer_value_usd is 0: the objective leaves quality out. "
                "Set it to what an acceptable answer is worth in USD, or name the policy in `quality_free_policies`."
            )
        return Terms(self.answer_value_usd, self.second_value_usd).tightened(
            *limits(field, self.min_quality, self.max_cost_usd, self.max_latency_ms)
        )


def limits(
    field: str, min_quality: float | None, max_cost_usd: float | None, max_latency_ms: int | None
) -> tuple[float, float, float]:
    """The three limits as (quality, USD, seconds), an absent one as 0 or infinity.

    Raises:
        InvalidRequest: a limit is negative, not finite or out of range.
    """
    if min_quality is not None and not 0.0 <= min_quality <= 1.0:
        raise InvalidRequest(f"{field}.min_quality is {min_quality}: give a probability between 0 and 1.")
    if max_cost_usd is not None:
        checked_number(f"{field}.max_cost_usd", max_cost_usd)
    if max_latency_ms is not None and max_latency_ms <= 0:
        raise InvalidRequest(f"{field}.max_latency_ms is {max_latency_ms}: give milliseconds above 0, or leave it out.")
    return (
        min_quality or 0.0,
        math.inf if max_cost_usd is None else max_cost_usd,
        math.inf if max_latency_ms is None else max_latency_ms / 1000.0,
    )


def checked_number(field: str, value: float, most: float = sys.float_info.max) -> None:
    """Raises InvalidRequest unless the value is finite, not negative and at most `most`."""
    if not 0.0 <= value < math.inf:
        raise InvalidRequest(f"{field} is {value}: give a finite number that is not negative.")
    if value > most:
        raise InvalidRequest(f"{field} is {value:g}: give at most {most:g}.")
