"""The live state of one candidate, as it is shown."""

from math import nan
from typing import Literal, NamedTuple

State = Literal["AVAILABLE", "RECOVERING", "OPEN", "COOLING", "EXHAUSTED"]


class Row(NamedTuple):
    """One candidate of the fleet; the fields are those of CandidateLoad in fleet.proto, and nan is unknown."""

    candidate: str
    state: State = "AVAILABLE"
    note: str = ""
    in_flight: float = nan
    running: float = nan
    waiting: float = nan
    max_running: float = nan
    kv_used: float = nan
    wait_seconds: float = nan
    first_token_seconds: float = nan
    seconds_per_token: float = nan
    tokens_per_second: float = nan
    errors_per_second: float = nan
    rate_limit_remaining_requests: float = nan
    rate_limit_remaining_tokens: float = nan
    rate_limit_reset_seconds: float = nan
    share: float = nan
    recovery_seconds: float = nan
    telemetry_age_seconds: float = nan


FIGURES = Row._fields[3:]
