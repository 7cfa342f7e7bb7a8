import threading
from typing import Any

import grpc
import pytest

from sidecar.wire import router_pb2 as pb
from sidecar.wire import router_pb2_grpc as rpc
from tests.lanes.conftest import Start

CLIENTS, ROUNDS = 4, 3


def test_what_arrived_while_a_batch_ran_is_answered_though_the_server_stops_meanwhile(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start("http2", drain_seconds=30.0)
    at_work, go_on = threading.Event(), threading.Event()
    batcher: Any = running.server.services.batcher
    answer = batcher._answer

    def slowly(jobs: Any) -> Any:
        at_work.set()
        assert go_on.wait(30)
        return answer(jobs)

    monkeypatch.setattr(batcher, "_answer", slowly)
    request = pb.RouteRequest(text="what is the capital")
    calls = [running.stub.Route.future(request, timeout=20)]
    assert at_work.wait(30)
    calls += [running.stub.Route.future(request, timeout=20) for _ in range(3)]
    draining = threading.Thread(target=running.drain)
    draining.start()  # the connection ends in two steps: what the client sent before it heard of the first is answered
    go_on.set()
    assert [call.result().bundle_version for call in calls] == ["1"] * 4
    draining.join(30)
    assert len(batcher) == 0


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_what_a_drain_finds_waiting_is_answered(start: Start, transport: str, round_: int) -> None:
    del round_
    running = start(transport, drain_seconds=30.0)
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
    # gRPC's core cancels what arrives after it has begun to stop; but what a transport has taken, it answers.
    assert set(failed) <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    assert len(running.server.services.batcher) == 0
