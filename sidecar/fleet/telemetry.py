"""What a candidate's servers, or the provider in front of them, say of themselves."""

import math
from typing import NamedTuple


class Telemetry(NamedTuple):
    """One observation of a candidate; nan is unknown.

    Attributes:
        running: requests that are being answered.
        waiting: requests that wait for their turn.
        max_running: most requests that can be answered at a time.
        kv_used: share of the cache for keys and values that is in use, 0 to 1.
        first_token_seconds: recent mean time to the first token.
        seconds_per_token: recent mean time for each output token after it.
        tokens_per_second: output tokens of all requests together.
        errors_per_second: failed requests.
        rate_limit_remaining_requests: requests that the provider still takes until the reset.
        rate_limit_remaining_tokens: tokens that the provider still takes until the reset.
        rate_limit_reset_unix: when these are full again, in Unix seconds.
        retry_after_unix: before this nothing more is welcome, in Unix seconds.
        observed_unix: when this was so, in Unix seconds.
    """

    running: float = math.nan
    waiting: float = math.nan
    max_running: float = math.nan
    kv_used: float = math.nan
    first_token_seconds: float = math.nan
    seconds_per_token: float = math.nan
    tokens_per_second: float = math.nan
    errors_per_second: float = math.nan
    rate_limit_remaining_requests: float = math.nan
    rate_limit_remaining_tokens: float = math.nan
    rate_limit_reset_unix: float = math.nan
    retry_after_unix: float = math.nan
    observed_unix: float = math.nan
