"""Says which field of a request is wrong where protobuf only says that something is.

Protobuf refuses text that is not UTF-8, but names no field. This walks the bytes once more, only after a refusal.
"""

from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError

from sidecar.errors import InvalidRequest

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5
WIDTHS = {FIXED64: 8, FIXED32: 4}


class _Truncated(Exception):
    pass


def parsed(kind: Any, data: bytes) -> Any:
    """A message of a kind, from its bytes.

    Raises:
        InvalidRequest: it is no such message.
    """
    try:
        return kind.FromString(data)
    except DecodeError:
        raise explain(data, kind.DESCRIPTOR) from None


def explain(data: bytes, message: Descriptor) -> InvalidRequest:
    """Why `data` is no such message."""
    try:
        field = _not_utf8(data, message, "")
    except _Truncated:
        field = ""
    if field:
        return InvalidRequest(f"{field} is not UTF-8: encode text as UTF-8 before sending it.")
    return InvalidRequest(f"the request is not a {message.full_name}: it is cut off or was made from another contract.")


def _not_utf8(data: bytes, message: Descriptor, path: str) -> str:
    seen: dict[int, int] = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            _, at = _varint(data, at)
            continue
        if wire == LENGTH_DELIMITED:
            length, at = _varint(data, at)
        elif wire in WIDTHS:
            length = WIDTHS[wire]
        else:
            raise _Truncated
        payload, at = data[at : at + length], at + length
        if at > len(data):
            raise _Truncated
        field = message.fields_by_number.get(number)
        if field is None or wire != LENGTH_DELIMITED:
            continue
        place = seen[number] = seen.get(number, -1) + 1
        name = f"{path}{field.name}" + (f"[{place}]" if field.is_repeated else "")
        found = _check(payload, field, name)
        if found:
            return found
    return ""


def _check(payload: bytes, field: FieldDescriptor, name: str) -> str:
    if field.type == FieldDescriptor.TYPE_MESSAGE and field.message_type is not None:
        return _not_utf8(payload, field.message_type, f"{name}.")
    if field.type == FieldDescriptor.TYPE_STRING:
        try:
            payload.decode()
        except UnicodeDecodeError:
            return name
    return ""


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while at < len(data) and shift < 64:  # noqa: PLR2004 - bits of the widest varint
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:  # noqa: PLR2004 - the last byte lacks the continuation bit
            return number, at
    raise _Truncated
