"""Messages as bytes on a Unix socket: four bytes of length, then MessagePack."""

import asyncio
import socket
import struct
from typing import Any

import msgspec

_LENGTH = struct.Struct(">I")
# A sample of a thousand windows of 2,048 characters is a few megabytes.
MOST_BYTES = 64 << 20


class LinkBroken(ConnectionError):
    """The other side is gone, or does not speak our language."""


def encode(message: Any) -> bytes:
    """A message with its length before it."""
    body = msgspec.msgpack.encode(message)
    return _LENGTH.pack(len(body)) + body


def receive(connection: socket.socket, decoder: "msgspec.msgpack.Decoder[Any]") -> Any:
    """The next message; blocks until it is there.

    Raises:
        LinkBroken: the other side is gone, or sent something else.
    """
    size = _size(_exactly(connection, _LENGTH.size))
    return _decode(_exactly(connection, size), decoder)


async def read(stream: asyncio.StreamReader, decoder: "msgspec.msgpack.Decoder[Any]") -> Any:
    """The next message.

    Raises:
        LinkBroken: the other side is gone, or sent something else.
    """
    try:
        size = _size(await stream.readexactly(_LENGTH.size))
        return _decode(await stream.readexactly(size), decoder)
    except (OSError, asyncio.IncompleteReadError) as error:
        raise LinkBroken("the other side is gone") from error


def _size(head: bytes) -> int:
    size = int(_LENGTH.unpack(head)[0])
    if size > MOST_BYTES:
        raise LinkBroken(f"a message of {size} bytes was announced; the limit is {MOST_BYTES}")
    return size


def _decode(body: bytes, decoder: "msgspec.msgpack.Decoder[Any]") -> Any:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LinkBroken("a message could not be read; are both sides of the same version?") from error


def _exactly(connection: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        try:
            part = connection.recv(size - len(parts))
        except OSError as error:
            raise LinkBroken("the other side is gone") from error
        if not part:
            raise LinkBroken("the other side is gone")
        parts += part
    return bytes(parts)
