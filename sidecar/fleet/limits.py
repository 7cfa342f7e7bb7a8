"""Providers' rate limits: what is left of them, and when they are full again."""

import numpy as np
from numpy.typing import NDArray

from sidecar.fleet.admission import Admission
from sidecar.fleet.columns import (
    LEFT_REQUESTS,
    LEFT_TOKENS,
    LIMITS_AT,
    RESET_AT,
    STARTED,
    STARTED_THEN,
    TOKENS_STARTED,
    TOKENS_STARTED_THEN,
)


def exhaust(block: NDArray[np.float64], admission: Admission, now: float) -> Admission:
    """Takes rate limits into the admission: what was left less what was decided since must be one request or more.

    A limit of which it is not known when it is full again keeps nobody away.

    Args:
        block: [W, n, COLUMNS] all processes' rows.
        admission: to be changed.
        now: monotonic seconds.
    """
    stated = block[:, :, LIMITS_AT]
    if not stated.any():
        return admission
    latest = stated.argmax(axis=0)
    limits = block[latest, np.arange(block.shape[1])]
    since = np.maximum(block[:, :, STARTED].sum(axis=0) - limits[:, STARTED_THEN], 0.0)
    tokens_since = np.maximum(block[:, :, TOKENS_STARTED].sum(axis=0) - limits[:, TOKENS_STARTED_THEN], 0.0)
    used_up = (limits[:, LEFT_REQUESTS] - since < 1.0) | (limits[:, LEFT_TOKENS] - tokens_since <= 0.0)
    used_up &= (limits[:, LIMITS_AT] > 0.0) & (limits[:, RESET_AT] > now)  # what is not a number is not above
    if not used_up.any():
        return admission
    admission.open[used_up] = True
    wait_s = np.where(used_up, limits[:, RESET_AT] - now, 0.0)
    np.maximum(admission.recovery_seconds, wait_s, out=admission.recovery_seconds)
    return admission._replace(plain=False)
