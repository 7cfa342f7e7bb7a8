"""What the journals hold: values that go through MessagePack, laid out by column where there are many of a kind.

Every class is read by position: a later version may add fields at the end only, with a default.
"""

from typing import Any

import msgspec

from sidecar.ledger.frames import Frame, Kind
from sidecar.ledger.outcome import Outcome


class DecisionBatch(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """N decisions of one bundle over C candidates, each list [N].

    Attributes:
        bundle: name, version and digest of its manifest; empty strings if there was none.
        candidates: [C] names.
        models: [C] the names that the gateway knows.
        ids: N times 16 bytes.
        segments: in force.
        sessions: of the conversation; empty if none was named.
        policies: names in force, or `inline`.
        values: USD that an acceptable answer was worth.
        seconds: USD that a second of waiting cost.
        chosen: index of the chosen candidate.
        applied: whether the caller was told to use it; False in log-only mode.
        current: model that the caller would have used; empty if it did not say.
        propensity: probability with which the candidate was chosen.
        reasons: names of the reasons, joined by a comma.
        novelty: in [0, 1].
        prompt_tokens: given or estimated.
        expected: N times [4, C] float32, little endian: quality, cost in USD, seconds, utility in USD.
        rankings: output indices of the admissible candidates, best first: a byte for each, or two, little endian, if
            there are more than 256 candidates.
        width: D, numbers of an embedding; 0 if there is none.
        embedding: N times [D] float16, little endian.
        prompts: the text that was scored, or None where it is not kept; empty if none is.
        exclusions: why each candidate could not be chosen: N times [C] numbers of Exclusion, a byte each, or nothing where all
            could; empty if that was not recorded.
    """

    bundle: tuple[str, str, str]
    candidates: tuple[str, ...]
    models: tuple[str, ...]
    ids: bytes
    segments: list[str]
    sessions: list[str]
    policies: list[str]
    values: list[float]
    seconds: list[float]
    chosen: list[int]
    applied: list[bool]
    current: list[str]
    propensity: list[float]
    reasons: list[str]
    novelty: list[float]
    prompt_tokens: list[int]
    expected: bytes
    rankings: list[bytes]
    width: int = 0
    embedding: bytes = b""
    prompts: list[str | None] = []
    exclusions: list[bytes] = []


class Drops(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Decisions that were made and never recorded.

    Attributes:
        at: Unix seconds of the count.
        amount: since the count before.
        reason: `queue` (the journal's thread fell behind), `room` (no room for journals), or `write` (the disk refused).
        writer: of which journal.
    """

    at: float
    amount: int
    reason: str
    writer: str


Record = DecisionBatch | list[Outcome] | Drops
encode = msgspec.msgpack.Encoder().encode
_decoders: dict[int, "msgspec.msgpack.Decoder[Any]"] = {
    Kind.DECISIONS: msgspec.msgpack.Decoder(DecisionBatch),
    Kind.OUTCOMES: msgspec.msgpack.Decoder(list[Outcome]),
    Kind.DROPS: msgspec.msgpack.Decoder(Drops),
}


class Unreadable(ValueError):
    """A frame that holds no record of this version."""


def decode(frame: Frame) -> Record:
    """What a frame holds.

    Raises:
        Unreadable: nothing that this version knows.
    """
    decoder = _decoders.get(frame.kind)
    if decoder is None:
        raise Unreadable(f"a record of kind {frame.kind}")
    try:
        record: Record = decoder.decode(frame.payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Unreadable(f"a record of kind {frame.kind} in another form") from None
    return record


def list_of(encoded: list[bytes]) -> list[bytes]:
    """Pieces of a MessagePack list, made of values that are encoded already (array 32 of the MessagePack format)."""
    return [b"\xdd" + len(encoded).to_bytes(4), *encoded]
