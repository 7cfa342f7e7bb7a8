import threading
from typing import Any

import grpc
import pytest

from sidecar.wire import router_pb2 as pb
from sidecar.wire import router_pb2_grpc as rpc
from tests.lanes.conftest import Start

CLIENTS, ROUNDS = 4, 3


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_what_a_drain_finds_waiting_is_answered(start: Start, lane: str, round_: int) -> None:
    del round_
    running = start(lane, drain_seconds=30.0)
    stop, busy = threading.Event(), threading.Barrier(CLIENTS + 1, timeout=30)
    failed: list[grpc.StatusCode] = []

    def call() -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(running.address, options=options) as channel:
            stub: Any = rpc.RouterServiceStub(channel)  # type: ignore[no-untyped-call]
            for number in range(1_000_000):
                if number == 50:
                    busy.wait()
                if stop.is_set():
                    return
                try:
                    stub.Route(pb.RouteRequest(text="what is the capital"), timeout=20)
                except grpc.RpcError as error:
                    failed.append(error.code())
                    if number >= 50:
                        return

    threads = [threading.Thread(target=call) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    busy.wait()
    running.drain()
    stop.set()
    for thread in threads:
        thread.join(30)
    # gRPC's core cancels what arrives after it has begun to stop; but what a lane has taken, it answers.
    assert set(failed) <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    assert len(running.server.services.batcher) == 0
