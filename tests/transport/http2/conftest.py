"""A transport on a real port, for all tests of a module."""

from collections.abc import Iterator

import pytest

from tests.transport.http2.peers import Serving, serving


@pytest.fixture(scope="module")
def shared() -> Iterator[Serving]:
    """A transport with default limits; tests share it and leave it as it is."""
    with serving() as running:
        yield running
