"""The bytes of many calls at once: calls that are alike but for stream, timeout, salt and message, made by numpy.

A client that makes its calls one by one needs about ten microseconds for each; made a hundred at a time a call costs less
than one, so ten times a server's peak can be offered from one core.
"""

import secrets
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.hpack import first_block, later_block, literal
from benchmarks.http2 import CANCEL, DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, WORD, frame, message
from benchmarks.prompts import SALT

Numbers = NDArray[np.int64]
# gRPC's C core tells short timeouts in whole milliseconds; leading zeros keep all fields equally long.
TIMEOUT_DIGITS = 8
# A salt is eight hexadecimal digits of the run and five of the call.
RUN_DIGITS, SALT_MASK = 8, 0xFFFFF
HEXADECIMAL = np.frombuffer(b"0123456789abcdef", np.uint8)
NIBBLES = np.array([16, 12, 8, 4, 0])
CANCEL_FRAME = np.frombuffer(frame(RST_STREAM, 0, 0, WORD.pack(CANCEL)), np.uint8)
# So few calls are made sooner one by one.
FEW = 8
_STREAM = 5  # of a frame's head, where the number of the stream begins
_HEAD = 9


class Stencil:
    """Makes calls of one method.

    Args:
        method: `/package.Service/Method`.
        authority: HOST:PORT.
        payloads: serialised requests of one length, each with a salt (see benchmarks.prompts).
        choice: [N] which payload each call has; they are used in turn if left out.

    Attributes:
        data_bytes: what a call takes of the windows.

    Raises:
        ValueError: the payloads are not of one length, or their salts do not stand in one place.
    """

    def __init__(self, method: str, authority: str, payloads: Sequence[bytes], choice: Numbers | None = None) -> None:
        salts = {match.start() if (match := SALT.search(payload)) else -1 for payload in payloads}
        if len({len(payload) for payload in payloads}) != 1 or len(salts) != 1 or -1 in salts:
            raise ValueError("the payloads must have one length, and a salt in one place.")
        (salt,) = salts
        run = secrets.token_hex(RUN_DIGITS // 2).encode("ascii")
        marked = [payload[:salt] + run + payload[salt + RUN_DIGITS :] for payload in payloads]
        self.data_bytes = len(message(marked[0]))
        blocks = (first_block(method, authority), later_block())
        self._first, self._later = (_Mould(block, marked, salt, choice) for block in blocks)

    def first(self, number: int, stream: int, timeout_ms: int) -> bytes:
        """The first call of a connection; later ones refer to its headers."""
        return self._first.one(number, stream, timeout_ms)

    def later(self, numbers: Numbers, streams: Numbers, timeouts_ms: Numbers) -> bytes:
        """Later calls, one after the other.

        Args:
            numbers: [K] of the calls: each gets a salt of its own, and the payloads in turn.
            streams: [K] their streams.
            timeouts_ms: [K] until their deadlines, whole milliseconds.
        """
        if len(numbers) > FEW:
            return self._later.cast(numbers, streams, timeouts_ms)
        each = zip(numbers.tolist(), streams.tolist(), timeouts_ms.tolist(), strict=True)
        return b"".join([self._later.one(*call) for call in each])


def cancels(streams: Numbers) -> bytes:
    """RST_STREAM frames for the streams [K]."""
    rows = np.tile(CANCEL_FRAME, (len(streams), 1))
    rows[:, _STREAM : _STREAM + 4] = streams.astype(">u4").view(np.uint8).reshape(-1, 4)
    return rows.tobytes()


class _Mould:
    """Calls with one header block."""

    def __init__(self, block: bytes, payloads: Sequence[bytes], salt: int, choice: Numbers | None) -> None:
        self._choice = choice
        block += literal("grpc-timeout", "0" * TIMEOUT_DIGITS + "m")
        headers = frame(HEADERS, END_HEADERS, 0, block)
        whole = b"".join(headers + frame(DATA, END_STREAM, 0, message(payload)) for payload in payloads)
        self._rows = np.frombuffer(whole, np.uint8).reshape(len(payloads), -1)
        self._timeout = len(headers) - 1 - TIMEOUT_DIGITS
        self._streams = (_STREAM, len(headers) + _STREAM)
        message_at = len(headers) + _HEAD + len(message(b""))
        self._salt = message_at + salt + RUN_DIGITS

    def one(self, number: int, stream: int, timeout_ms: int) -> bytes:
        """One call."""
        chosen = number % len(self._rows) if self._choice is None else self._choice[number]
        row = bytearray(self._rows[chosen])
        for place in self._streams:
            WORD.pack_into(row, place, stream)
        row[self._salt : self._salt + len(NIBBLES)] = b"%05x" % (number & SALT_MASK)
        row[self._timeout : self._timeout + TIMEOUT_DIGITS] = b"%08d" % max(1, timeout_ms)
        return bytes(row)

    def cast(self, numbers: Numbers, streams: Numbers, timeouts_ms: Numbers) -> bytes:
        """Many calls."""
        chosen = numbers % len(self._rows) if self._choice is None else self._choice[numbers]
        rows = self._rows[chosen]  # a copy
        count = len(numbers)
        ids = streams.astype(">u4").view(np.uint8).reshape(count, 4)
        for place in self._streams:
            rows[:, place : place + 4] = ids
        rows[:, self._salt : self._salt + len(NIBBLES)] = HEXADECIMAL[numbers[:, None] >> NIBBLES & 15]
        left = np.maximum(timeouts_ms, 1)
        for place in range(TIMEOUT_DIGITS - 1, -1, -1):
            rows[:, self._timeout + place] = left % 10 + ord("0")
            left = left // 10
            if not left.any():
                break
        return rows.tobytes()
