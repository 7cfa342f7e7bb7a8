from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.fleet.sources.model_server import ModelServer


@pytest.fixture
def serve() -> Iterator[Callable[..., ModelServer]]:
    """Starts model servers."""
    with ExitStack() as running:

        def start(body: str = "", **more: Any) -> ModelServer:
            return running.enter_context(ModelServer(body, **more))

        yield start
