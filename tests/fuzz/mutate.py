"""Changes an input while it stays a message: most changes of raw bytes get no further than the parser."""

import random
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError

from tests.fuzz.seeds import words
from tests.fuzz.target import target_of

WORDS = words()
INTEGERS = (0, 1, 2, 3, 255, 4096, 8192, 2**31 - 1, 2**31, 2**32 - 1)
FLOATS = (0.0, -0.0, 0.5, 1.0, 1.0000001, -1.0, 5e-324, 1e-30, 1e9, 3.5e38, 1.7e308, float("inf"), float("nan"))
ODD = "\x00\x7f\x85\xa0\u00ad\u0130\u0307\u1e9e\u200b\u2028\ufdfa\ufeff\ufffd\U0001f3fb\U000e0041\U0010ffff"
LARGEST_REPEAT = 40_000
MOST_CHANGES = 4

Raw = Callable[[bytes, int], bytes]


def mutated(data: bytes, most: int, chance: random.Random, raw: Raw) -> bytes:
    """Another input.

    Args:
        data: the input.
        most: bytes that it may have.
        chance: decides.
        raw: changes bytes that mean nothing to it.
    """
    if not data or chance.random() < 0.25:
        return raw(data, most)
    try:
        message = target_of(data).FromString(data[1:])
    except DecodeError:
        return raw(data, most)
    for _ in range(chance.randint(1, MOST_CHANGES)):
        _change(message, chance)
    first = data[0] ^ 4 if chance.random() < 0.1 else data[0]
    whole = bytes([first]) + message.SerializeToString()
    return whole if len(whole) <= most else raw(data, most)


def _change(message: Any, chance: random.Random) -> None:
    """Changes one field of a message or of one within it."""
    places = list(_messages(message))
    within = chance.choice(places)
    field = chance.choice(within.DESCRIPTOR.fields)
    if field.is_repeated:
        _change_repeated(within, field, chance)
    elif field.message_type is not None:
        if chance.random() < 0.2:
            within.ClearField(field.name)
        else:
            getattr(within, field.name).SetInParent()
    else:
        setattr(within, field.name, _scalar(field, getattr(within, field.name), chance))


def _messages(message: Any) -> Iterator[Any]:
    yield message
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        for inner in value if field.is_repeated else (value,):
            yield from _messages(inner)


def _change_repeated(within: Any, field: FieldDescriptor, chance: random.Random) -> None:
    items = getattr(within, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        items[chance.choice(("tenant", "x", "", chance.choice(WORDS)))] = _text("", chance)
    elif field.message_type is None:
        items.append(_text("", chance))
    elif items and chance.random() < 0.5:
        if chance.random() < 0.5:
            del items[chance.randrange(len(items))]
        else:
            one = chance.choice(list(items))
            items.extend([one] * chance.choice((1, 1, 2, 70)))
    else:
        items.add()


def _scalar(field: FieldDescriptor, old: Any, chance: random.Random) -> Any:
    if field.type == FieldDescriptor.TYPE_STRING:
        if field.name == "role":
            return chance.choice(("user", "user", "user", "assistant", "system", "tool", old, _text(old, chance)))
        return _text(old, chance)
    if field.type == FieldDescriptor.TYPE_DOUBLE:
        return chance.choice((*FLOATS, chance.random(), old * 2))
    return chance.choice((*INTEGERS, chance.getrandbits(32)))


def _text(old: str, chance: random.Random) -> str:
    at = chance.randint(0, len(old))
    until = min(len(old), at + chance.choice((1, 8, 200)))
    kind = chance.randrange(6)
    if kind == 0:
        return old[:at] + old[until:]
    if kind == 1:
        piece = old[at:until] or chance.choice(WORDS)
        times = min(chance.choice((2, 50, 1000, 10_000)), LARGEST_REPEAT // len(piece))
        return old[:at] + piece * times + old[at:]
    if kind == 2:
        return old[:at] + "".join(chance.choices(ODD, k=chance.choice((1, 70)))) + old[at:]
    if kind == 3:
        return old[:at] + old[at:until].swapcase() + old[until:]
    return old[:at] + chance.choice(WORDS) + old[at:]
