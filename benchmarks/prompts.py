"""Requests of any size, no two alike, the same for the same seed until they are salted anew.

Words are drawn from the documentation that ships with Python (pydoc_data), as often as they stand there: their
frequencies are those of English, which matters to a tokenizer that remembers words.
"""

import re
import secrets
from collections.abc import Sequence
from functools import cache, lru_cache
from pydoc_data.topics import topics

import numpy as np

from sidecar.wire import router_pb2 as pb

SMALLEST = 20
# Prompts are made beforehand; beyond this they are used again in turn.
MOST_BYTES = 48 << 20
MOST_PROMPTS = 50_000
# The last turn is as long in a short conversation as in a long one: only the history grows.
TURN_CHARS = 500
# What a text begins with, and nothing else in a request looks like.
SALT = re.compile(rb"[0-9a-f]{13}")
SEGMENTS = ("", "support", "code", "search")


@cache
def _words() -> tuple[str, ...]:
    return tuple(re.findall(r"[A-Za-z]+[.,;?]?", " ".join(topics[name] for name in sorted(topics))))


def texts(chars: int, count: int, seed: int) -> list[str]:
    """Prompts of exactly `chars` characters; a salt at the beginning makes each unlike all others.

    Args:
        chars: at least 20.
        count: wanted; fewer come if they would not fit into memory.
        seed: of the generator.
    """
    if chars < SMALLEST:
        raise ValueError(f"a prompt needs at least {SMALLEST} characters for its salt, not {chars}.")
    count = max(1, min(count, MOST_PROMPTS, MOST_BYTES // chars))
    rng = np.random.default_rng([seed, chars])
    words = _words()
    made = []
    for number in range(count):
        drawn = rng.integers(0, len(words), size=chars // 3 + 1)
        salt = f"{rng.integers(1 << 32):08x}{number:05x}"
        made.append(f"{salt} {' '.join([words[index] for index in drawn])}"[:chars].ljust(chars, "."))
    return made


@lru_cache(maxsize=4)
def requests(chars: int, count: int, seed: int) -> tuple[bytes, ...]:
    """Serialised RouteRequests with plain text, over several segments."""
    return tuple(
        pb.RouteRequest(
            text=text, segment=SEGMENTS[number % len(SEGMENTS)], metadata={"tenant": "acme"}
        ).SerializeToString()
        for number, text in enumerate(texts(chars, count, seed))
    )


def conversations(chars: int, count: int, seed: int) -> Sequence[bytes]:
    """Serialised RouteRequests whose messages have about `chars` characters in all; the last turn is the user's.

    It holds the salt, since of a long conversation little else is scored.
    """
    made = []
    for text in texts(chars, count, seed):
        pieces = [text[start : start + TURN_CHARS] for start in range(0, len(text), TURN_CHARS)]
        pieces = [*pieces[1:], pieces[0]]
        if len(pieces) % 2:
            pieces = [*pieces[:-1], ".", pieces[-1]] if len(pieces) > 1 else [".", *pieces]
        # system, user, assistant, user, ...: an even number of turns ends with the user
        roles = ["system", *(("user", "assistant")[index % 2] for index in range(len(pieces) - 1))]
        turns = [pb.ChatMessage(role=role, content=piece) for role, piece in zip(roles, pieces, strict=True)]
        made.append(pb.RouteRequest(messages=turns, segment="support").SerializeToString())
    return made


def salted(payloads: Sequence[bytes]) -> list[bytes]:
    """The same requests, each with a salt that no request had before: whoever remembers prompts does not know these."""
    run = secrets.token_hex(4)
    return [SALT.sub(f"{run}{number:05x}".encode(), payload, count=1) for number, payload in enumerate(payloads)]


def batches(items: Sequence[bytes], size: int) -> list[bytes]:
    """Serialised RouteBatchRequests of `size` items each."""
    return [
        pb.RouteBatchRequest(
            requests=[pb.RouteRequest.FromString(item) for item in items[start : start + size]]
        ).SerializeToString()
        for start in range(0, len(items) - size + 1, size)
    ]
