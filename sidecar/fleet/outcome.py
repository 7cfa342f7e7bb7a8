"""What the fleet learns from an outcome, and whose decision it belongs to."""

import enum
import hashlib
import math
from typing import NamedTuple

# Layout of a decision's id, in hexadecimal digits: see routing/decision_id.py.
ID_DIGITS, PROCESS_AT, NUMBER_AT = 32, 12, 22
WRITER_BITS = 8


class Fault(enum.IntEnum):
    """How a call went wrong. The first three say something of the candidate, CLIENT does not."""

    NONE = 0
    SERVER = 1
    TIMEOUT = 2
    RATE_LIMIT = 3
    CLIENT = 4


class Outcome(NamedTuple):
    """The part of an outcome that tells of load and health; nan is unknown.

    Attributes:
        fault: how the call went wrong, if it did. Errors of the client (a bad request, a refused content, a caller who
            hung up) are CLIENT.
        first_token_seconds: time to the first token.
        latency_seconds: time to the end of the answer.
        output_tokens: of the answer.
        retry_after_seconds: before this the candidate wants nothing more.
        ended: whether the call has; if not, its first token has come.
    """

    fault: Fault = Fault.NONE
    first_token_seconds: float = math.nan
    latency_seconds: float = math.nan
    output_tokens: float = math.nan
    retry_after_seconds: float = math.nan
    ended: bool = True


class Origin(NamedTuple):
    """Whose decision it was.

    Attributes:
        process: the owner of a section of the fleet table: its epoch and the section's number.
        number: of the decision.
    """

    process: int
    number: int

    @property
    def writer(self) -> int:
        """The section."""
        return self.process & ((1 << WRITER_BITS) - 1)

    @property
    def epoch(self) -> int:
        """Its owner."""
        return self.process >> WRITER_BITS


def process_of(writer: int, epoch: int) -> int:
    """What DecisionIds takes as `process`, so that `origin_of` finds back."""
    return epoch << WRITER_BITS | writer


def origin_of(decision_id: str) -> Origin | None:
    """Whose decision an id names; None if it is no id of ours. Other sidecars' ids look the same; see Origin.process."""
    if len(decision_id) != ID_DIGITS:
        return None
    try:
        return Origin(int(decision_id[PROCESS_AT:NUMBER_AT], 16), int(decision_id[NUMBER_AT:], 16))
    except ValueError:
        return None


def key_of_model(name: str) -> float:
    """What stands for a model's name where there is room for a number only; never 0. Two names share one by a small chance."""
    return 1.0 + int.from_bytes(hashlib.blake2b(name.encode(), digest_size=6).digest(), "little")
