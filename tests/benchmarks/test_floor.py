import time

import pytest

from benchmarks.client import OK, Reply
from benchmarks.floor import TRANSPORTS, METHOD, EmptyServices
from benchmarks.frames import FramesClient
from sidecar.lanes.auto import choose_lane
from sidecar.lanes.entrance import Entrance


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_empty_handler_answers_on_each_lane_with_constant_bytes(transport: str) -> None:
    serving = choose_lane(transport).make(EmptyServices(b"xyz"), Entrance())
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
