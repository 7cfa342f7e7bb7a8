"""What a candidate's servers, or its provider, say of their load."""

from math import nan
from typing import NamedTuple


class Telemetry(NamedTuple):
    """One observation of a candidate; nan is unknown.

    Attributes:
        running: requests that are being answered.
        waiting: requests that wait for their turn.
        max_running: most requests that can be answered at a time.
        kv_used: share of the key-value cache that is in use, in [0, 1].
        first_token_seconds: recent mean time to the first token.
        seconds_per_token: recent mean time for each output token after it.
        tokens_per_second: output tokens per second, of all requests together.
        errors_per_second: failed requests per second.
        rate_limit_remaining_requests: requests that the provider still allows.
        rate_limit_remaining_tokens: tokens that it still allows.
        rate_limit_reset_unix: when it allows more, in Unix seconds.
        retry_after_unix: before this it wants no request at all, in Unix seconds.
        observed_unix: when this was observed, in Unix seconds.
    """

    running: float = nan
    waiting: float = nan
    max_running: float = nan
    kv_used: float = nan
    first_token_seconds: float = nan
    seconds_per_token: float = nan
    tokens_per_second: float = nan
    errors_per_second: float = nan
    rate_limit_remaining_requests: float = nan
    rate_limit_remaining_tokens: float = nan
    rate_limit_reset_unix: float = nan
    retry_after_unix: float = nan
    observed_unix: float = nan
