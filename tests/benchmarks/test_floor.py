import time

import pytest

from benchmarks.client import OK, Reply
from benchmarks.floor import METHOD, TRANSPORTS, EmptyServices
from benchmarks.frames import FramesClient
from sidecar.config import Config
from sidecar.lanes.health import Health
from sidecar.transport.choose import transport_of


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_empty_handler_answers_on_each_transport_with_constant_bytes(transport: str) -> None:
    config = Config(transport=transport)  # type: ignore[arg-type]  # one of TRANSPORTS
    serving = transport_of(config, EmptyServices(b"xyz"), Health())
    client = FramesClient(serving.start("127.0.0.1:0"), METHOD, 2)
    try:
        for key in range(50):
            client.send(b"anything", key)
        replies: list[Reply] = []
        until = time.perf_counter() + 20.0
        while len(replies) < 50 and time.perf_counter() < until:
            replies += client.wait(0.2)
    finally:
        client.close()
        serving.drain(1.0)
    assert sorted((reply.key, reply.status, reply.body) for reply in replies) == [(k, OK, b"xyz") for k in range(50)]
