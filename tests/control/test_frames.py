import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.control import frames
from sidecar.control.frames import MOST_BYTES, LinkBroken
from sidecar.control.messages import Beat, Done, Hello, Operate, State, Target, ToControl
from sidecar.stats import Stats

DECODER: "msgspec.msgpack.Decoder[Any]" = msgspec.msgpack.Decoder(ToControl)

messages = st.one_of(
    st.builds(Hello, st.integers(0, 255), st.integers(1, 2**22), st.builds(State, st.builds(Target, st.text()))),
    st.builds(Beat, st.floats(0, 1e6), st.builds(Stats, invalid=st.integers(0, 2**40))),
    st.builds(Done, st.integers(0, 2**40), st.text()),
)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.settimeout(30)
    theirs.settimeout(30)
    with ours, theirs:
        yield ours, theirs


@given(st.lists(messages, min_size=1, max_size=8), st.integers(1, 50))
def test_messages_come_back_however_the_bytes_are_cut(sent: list[Any], size: int) -> None:
    data = b"".join(map(frames.encode, sent))

    async def read_all() -> list[Any]:
        stream = asyncio.StreamReader()
        for at in range(0, len(data), size):
            stream.feed_data(data[at : at + size])
        stream.feed_eof()
        found = [await frames.read(stream, DECODER) for _ in sent]
        with pytest.raises(LinkBroken, match="gone"):
            await frames.read(stream, DECODER)
        return found

    assert asyncio.run(read_all()) == sent


def test_a_blocking_reader_gets_the_same(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    sent = [Done(1), Done(2, "x" * 10_000)]
    theirs.sendall(frames.encode(sent[0]) + frames.encode(sent[1])[:7_000])
    assert frames.receive(ours, DECODER) == sent[0]
    theirs.sendall(frames.encode(sent[1])[7_000:])
    assert frames.receive(ours, DECODER) == sent[1]


BROKEN = {
    "the end": b"",
    "half a length": b"\0\0",
    "half a message": frames.encode(Done(1))[:-1],
    "too long": (MOST_BYTES + 1).to_bytes(4, "big"),
    "no MessagePack": b"\0\0\0\1\xc1",
    "text that is no UTF-8": b"\0\0\0\2\xa1\xff",
    "another kind": frames.encode({"type": "Unheard"}),
    "of another version": frames.encode({"type": "Done", "id": "one"}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_message_breaks_the_link(pair: tuple[socket.socket, socket.socket], name: str) -> None:
    ours, theirs = pair
    theirs.sendall(BROKEN[name])
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(LinkBroken):
        frames.receive(ours, DECODER)


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_no_message_breaks_the_link_of_an_event_loop_too(name: str) -> None:
    stream = asyncio.StreamReader()
    stream.feed_data(BROKEN[name])
    stream.feed_eof()
    with pytest.raises(LinkBroken):
        await frames.read(stream, DECODER)


def test_a_connection_that_is_reset_breaks_the_link(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = pair
    ours.close()
    with pytest.raises(LinkBroken):
        frames.receive(ours, DECODER)


@given(st.builds(Operate, st.integers(0, 9), st.none()))
def test_the_length_does_not_count_itself(message: Any) -> None:
    data = frames.encode(message)
    assert int.from_bytes(data[:4], "big") == len(data) - 4
