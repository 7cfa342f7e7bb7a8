"""What one sidecar tells the others: the sums of its workers.

All times are readings of the sender's own monotonic clock, and so is `now`, when the message was made: a reader takes the
differences (ages). How old the message itself is follows from the server's clock, which both know. So no two hosts need to
agree on what time it is.
"""

from collections.abc import Mapping
from typing import Annotated

import msgspec

# Readers leave out messages of another version.
VERSION = 1
# A group has a few dozen candidates; a message of 100 of them has 10 KB.
MOST_BYTES = 256 << 10
MOST_ROWS = 4096

# What is not a number, infinite or below 0 is no count. Up to 2**53 floats count exactly.
Count = Annotated[float, msgspec.Meta(ge=0.0, le=2.0**53)]
Time = Annotated[float, msgspec.Meta(ge=0.0, le=1e12)]
Label = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Unreadable(Exception):
    """A message that is none of ours. The text does not hold any of it."""


class Row(msgspec.Struct, frozen=True, array_like=True):
    """A candidate's or a budget's; see sidecar.fleet.columns for what the numbers are.

    Attributes:
        in_flight: calls.
        tokens_in_flight: expected in them.
        started: decisions since the sender's start; of a budget: requests.
        tokens_started: expected in them.
        changed_at: when the sender's breaker changed last; 0 is never.
        kind: CLOSED or OPEN.
        until: when open turns to half open.
        level: how often the backoff was doubled.
        cool_until: before which the candidate wants nothing, as it said itself.
        cause: why the breaker opened.
    """

    in_flight: Count = 0.0
    tokens_in_flight: Count = 0.0
    started: Count = 0.0
    tokens_started: Count = 0.0
    changed_at: Time = 0.0
    kind: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.0
    until: Time = 0.0
    level: Count = 0.0
    cool_until: Time = 0.0
    cause: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.0


class Report(msgspec.Struct, frozen=True):
    """A message.

    Attributes:
        version: VERSION.
        sidecar: the sender's id.
        name: of the sender, for people.
        now: when it was made; so the later of two messages is the one with the larger number.
        server: what time it was then on the server's clock, as far as the sender knows; 0: it does not.
        rows: by name, as in the fleet table: all candidates and budgets that the sender knows.
    """

    version: int
    sidecar: str
    name: Annotated[str, msgspec.Meta(max_length=300)]
    now: Time
    server: Time
    rows: Annotated[dict[Label, Row], msgspec.Meta(max_length=MOST_ROWS)]


class _Head(msgspec.Struct, frozen=True):
    version: int


Spent = dict[Label, Count]

_encoder = msgspec.msgpack.Encoder()
_head: "msgspec.msgpack.Decoder[_Head]" = msgspec.msgpack.Decoder(_Head)
_report: "msgspec.msgpack.Decoder[Report]" = msgspec.msgpack.Decoder(Report)
_spent: "msgspec.msgpack.Decoder[Spent]" = msgspec.msgpack.Decoder(Spent)


def encode(report: Report) -> bytes:
    """As it is sent."""
    return _encoder.encode(report)


def decode(raw: bytes) -> Report:
    """A message.

    Raises:
        Unreadable: it is none, or one of another version.
    """
    try:
        version = _head.decode(raw).version
        if version == VERSION:
            return _report.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Unreadable("no message of a sidecar") from None
    raise Unreadable(f"a message of version {version}, not {VERSION}")


def encode_spent(spent: Mapping[str, float]) -> bytes:
    """Money in USD that a sidecar spent on one day, by the names of the budgets' rows."""
    return _encoder.encode(spent)


def decode_spent(raw: bytes) -> Mapping[str, float]:
    """See encode_spent.

    Raises:
        Unreadable: it is none.
    """
    try:
        return _spent.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Unreadable("no sum of a sidecar's money") from None
