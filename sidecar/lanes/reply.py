"""From what was decided to bytes on the wire.

The ranking is most of a reply: one message for each candidate. Building these through protobuf objects costs more than
scoring the prompt, so they are written by hand, after the protobuf encoding
(https://protobuf.dev/programming-guides/encoding/): a constant head for each candidate, then four floats with their
tags, which are laid out in one array for the whole batch. Protobuf allows a message to be written in pieces, so the
pieces are simply joined.
"""

from collections.abc import Callable, Iterator
from math import ceil
from struct import Struct

import numpy as np

from sidecar.lanes.lane import Encoded
from sidecar.routing.candidates import CandidateTable
from sidecar.routing.decision import Choice, Expectations, Reason
from sidecar.routing.decision_id import ID_CHARS
from sidecar.routing.router import Decided
from sidecar.types import Floats
from sidecar.wire import router_pb2 as pb

FIXED64 = 1
LENGTH_DELIMITED = 2
FIXED32 = 5
MORE = 0x80  # set in every byte of a varint but its last
RANKING_TAG = pb.RouteResponse.RANKING_FIELD_NUMBER << 3 | LENGTH_DELIMITED
PROPENSITY_TAG = pb.RouteResponse.PROPENSITY_FIELD_NUMBER << 3 | FIXED64
NOVELTY_TAG = pb.RouteResponse.NOVELTY_FIELD_NUMBER << 3 | FIXED32
MOST_NAMES = 1024
_FIELDS = pb.RouteResponse.DESCRIPTOR.fields_by_name
_CHANCES = Struct("<BdBf").pack
_ID_HEAD = bytes([pb.RouteResponse.DECISION_ID_FIELD_NUMBER << 3 | LENGTH_DELIMITED, ID_CHARS])
FLOAT_FIELDS = ("quality", "cost_usd", "expected_seconds", "utility_usd")
_TAGS = {name: pb.RankedCandidate.DESCRIPTOR.fields_by_name[name].number << 3 | FIXED32 for name in FLOAT_FIELDS}
# A tag before each float, as it stands on the wire: 20 bytes.
FLOATS = np.dtype([field for name in FLOAT_FIELDS for field in ((f"{name}_tag", "u1"), (name, "<f4"))])


def varint(number: int) -> bytes:
    """A non-negative number in protobuf's base-128 encoding."""
    encoded = bytearray()
    while number >= MORE:
        encoded.append(number % MORE | MORE)
        number //= MORE
    encoded.append(number)
    return bytes(encoded)


def delimited(field_number: int, payload: bytes) -> bytes:
    """A field that holds a message, a string or bytes."""
    return varint(field_number << 3 | LENGTH_DELIMITED) + varint(len(payload)) + payload


def text_field(name: str, text: str) -> bytes:
    """A text of RouteResponse; nothing where it is empty, as protobuf does."""
    return delimited(_FIELDS[name].number, text.encode()) if text else b""


class Replies:
    """Encodes RouteResponse.

    Args:
        table: the candidates.
        bundle: (name, version) of the running bundle; empty strings if there is none.
        clock: monotonic seconds.
    """

    def __init__(self, table: CandidateTable, bundle: tuple[str, str], clock: Callable[[], float]) -> None:
        self._models = [text_field("model", row.model) for row in table.rows]
        self._bundle = bundle
        # Filled anew for every reply, by the transport's one thread: setting fields costs half of making a message. Only
        # numbers: a text that is set takes memory which a message does not give back as long as it lives.
        self._numbers = pb.RouteResponse(timings=pb.Timings())
        # The names that a reply repeats, by segment, envelope and policy.
        self._names: dict[tuple[str, str, str], bytes] = {}
        # The part of a reply that is the same wherever the reasons are.
        self._constants: dict[tuple[Reason, ...], bytes] = {}
        self._clock = clock
        self._entry_heads = []
        for row in table.rows:
            names = pb.RankedCandidate(candidate=row.name, model=row.model).SerializeToString()
            self._entry_heads.append(varint(RANKING_TAG) + varint(len(names) + FLOATS.itemsize) + names)
        self._split = Struct(f"{FLOATS.itemsize}s" * len(table)).iter_unpack
        self._make(1)

    def encode(self, decided: Decided) -> Iterator[Encoded]:
        """One RouteResponse for each request of the batch, or the error in its place."""
        size, heads = len(decided.asks), self._entry_heads
        bodies = self._split(self._floats_of(decided.expected, size))
        numbers, timings = self._numbers, self._numbers.timings
        timings.tokenize_us, timings.score_us = int(decided.tokenize_s * 1e6), int(decided.score_s * 1e6)
        timings.decide_us = int((decided.ended - decided.began - decided.tokenize_s - decided.score_s) * 1e6)
        timings.batch_size = size
        cached = decided.cached or (False,) * size
        rows = zip(decided.asks, decided.outcomes, bodies, decided.ids, cached, strict=True)
        for ask, outcome, body, decision_id, at_hand in rows:
            if not isinstance(outcome, Choice):
                yield outcome
                continue
            propensity, novelty = outcome.propensity, outcome.novelty
            chances = _CHANCES(PROPENSITY_TAG, propensity, NOVELTY_TAG, novelty) if propensity and novelty else b""
            names = (ask.segment, ask.envelope, ask.policy)
            numbers.applied = not ask.log_only
            numbers.prompt_tokens = ask.prompt_tokens
            timings.intake_us = int((ask.ready - ask.arrived) * 1e6)
            timings.queue_us = max(0, int((decided.began - ask.ready) * 1e6))
            timings.cached = at_hand
            timings.total_us = int((self._clock() - ask.arrived) * 1e6)
            constant = self._constants.get(outcome.reasons) or self._constant(outcome.reasons)
            ranking = b"".join([heads[index] + body[index] for index in outcome.ranking[: ask.ranking_limit]])
            if outcome.recovery_s:
                constant += pb.RouteResponse(retry_after_ms=ceil(1000.0 * outcome.recovery_s)).SerializeToString()
            # The order of the fields is protobuf's own: a client that compares bytes sees no difference.
            yield b"".join(
                (
                    _ID_HEAD,
                    decision_id.encode(),
                    text_field("model", ask.current_model) if ask.log_only else self._models[outcome.ranking[0]],
                    chances or pb.RouteResponse(propensity=propensity, novelty=novelty).SerializeToString(),
                    self._names.get(names) or self._named(*names),
                    numbers.SerializeToString(),
                    constant,
                    ranking,
                )
            )

    def _named(self, segment: str, envelope: str, policy: str) -> bytes:
        if len(self._names) >= MOST_NAMES:  # segments come from callers
            self._names.clear()
        named = text_field("segment", segment) + text_field("envelope", envelope) + text_field("policy", policy)
        self._names[segment, envelope, policy] = named
        return named

    def _constant(self, reasons: tuple[Reason, ...]) -> bytes:
        name, version = ("", "") if Reason.DEGRADED in reasons else self._bundle
        constant = pb.RouteResponse(
            reasons=reasons,  # type: ignore[arg-type]  # the core's enum, equal by number
            bundle_name=name,
            bundle_version=version,
        ).SerializeToString()
        self._constants[reasons] = constant
        return constant

    def _floats_of(self, expected: Expectations, size: int) -> bytes:
        """What is expected of every candidate for every request, in output order: four tagged floats of each."""
        if size > len(self._buffer):
            self._make(size)
        for column, values in zip(self._columns, expected, strict=False):  # the answer's tokens are not told
            column[:size] = values
        return self._buffer[:size].tobytes()

    def _make(self, size: int) -> None:
        """Makes room for the largest batch so far. It is filled anew for every batch by the transport's one thread."""
        self._buffer = np.zeros((size, len(self._entry_heads)), FLOATS)
        for name in FLOAT_FIELDS:
            self._buffer[f"{name}_tag"] = _TAGS[name]
        self._columns: list[Floats] = [self._buffer[name] for name in FLOAT_FIELDS]
