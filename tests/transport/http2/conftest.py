"""Transports on real ports, for all tests of a module, and in memory."""

from collections.abc import Iterator

import pytest

from benchmarks.http2 import ACK, PING, frame
from tests.transport.http2.memory import MOST_MESSAGE, Memory, closed, wanted
from tests.transport.http2.peers import Serving, call, serving


@pytest.fixture(scope="module")
def shared() -> Iterator[Serving]:
    """A transport with default limits; tests share it and leave it as it is."""
    with serving() as running:
        yield running


@pytest.fixture(scope="module", params=["http2", "grpcio"])
def both(request: pytest.FixtureRequest) -> Iterator[Serving]:
    """Each transport on a real port."""
    with serving(request.param, max_message_bytes=MOST_MESSAGE) as running:
        yield running


@pytest.fixture
def memory() -> Iterator[Memory]:
    """A transport whose neighbour is served at the end, whatever was done to it."""
    made = Memory()
    neighbour = made.opened()
    yield made
    made.services.busy = False
    if not neighbour.wire.closed:
        neighbour.send(frame(PING, ACK, 0, b"alive?\0\0"))
        assert b"neighbour" in neighbour.send(call(1, wanted(9, b"neighbour")))
    closed(made.server)
