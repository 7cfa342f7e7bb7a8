import time
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from sidecar.wire import router_pb2 as pb
from sidecar.wire import router_pb2_grpc as rpc
from tests.conftest import POISON, MakeBundle
from tests.faults.conftest import StartSidecar
from tests.faults.models import HANGS, SLOW, waits_at_words
from tests.faults.sidecars import NO_RETRIES, Load, until
from tests.lanes.conftest import TRANSPORTS


@pytest.fixture
def hanging(make_bundle: MakeBundle, registry: Path) -> None:
    """The registry's active bundle passes every check, and hangs at a certain word."""
    make_bundle(registry / "hangs", model=waits_at_words, version="hangs")
    (registry / "active").write_text("hangs\n")


@pytest.mark.slow
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_worker_that_hangs_is_killed_and_replaced_and_others_do_not_notice(
    serve: StartSidecar, hanging: None, transport: str
) -> None:
    sidecar = serve(3, transport, more="hang_seconds = 1.0")
    until(lambda: sidecar.all_connected(3))
    before = {worker.pid for worker in sidecar.workers()}
    since = len(sidecar.lines)
    with sidecar.connect(NO_RETRIES) as channel, Load(sidecar) as load:
        stub: Any = rpc.RouterServiceStub(channel)  # type: ignore[no-untyped-call]
        with pytest.raises(grpc.RpcError) as caught:
            stub.Route(pb.RouteRequest(text=f"what is {HANGS}"), timeout=60)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        sidecar.said("is stuck or silent for more than hang_seconds = 1 and is replaced", since)
        sidecar.said("was killed by SIGKILL and is started again", since)
        until(lambda: len(sidecar.serving()) == 3)
        load.more()
    assert load.failed == {}
    assert len(before - {worker.pid for worker in sidecar.workers()}) == 1


def test_one_slow_batch_is_not_taken_for_a_hang(serve: StartSidecar, hanging: None) -> None:
    sidecar = serve(1, more="hang_seconds = 30.0")
    reply = sidecar.route.Route(pb.RouteRequest(text=f"what is {SLOW}"), timeout=60)
    assert reply.bundle_version == "hangs"
    assert not any("stuck" in line for line in sidecar.lines)


def test_a_stopped_worker_is_silent_and_is_replaced(serve: StartSidecar) -> None:
    sidecar = serve(2, more="hang_seconds = 0.5")
    until(lambda: sidecar.all_connected(2))
    victim = sidecar.workers()[0]
    victim.suspend()
    sidecar.said("is stuck or silent for more than hang_seconds = 0.5 and is replaced")
    psutil.wait_procs([victim], 20)
    until(lambda: len(sidecar.serving()) == 2)


def test_with_hang_seconds_below_a_beat_sound_workers_live(serve: StartSidecar) -> None:
    sidecar = serve(1, more="hang_seconds = 0.1")
    before = sidecar.workers()[0].pid
    until(lambda: time.time() > sidecar.control().create_time() + 4.0)  # it has looked several times
    assert [worker.pid for worker in sidecar.workers()] == [before]
    assert not any("stuck" in line for line in sidecar.lines)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_text_that_the_model_chokes_on_degrades_only_itself(serve: StartSidecar, transport: str) -> None:
    sidecar = serve(1, transport)
    route = sidecar.route.Route
    poisoned = route(pb.RouteRequest(text=f"what is {POISON}"), timeout=60)
    assert list(poisoned.reasons) == [pb.REASON_DEGRADED]
    assert poisoned.model == "large"
    assert sidecar.said("DEGRADED: scoring failed")
    assert POISON not in "".join(sidecar.lines)
    assert sidecar.version() == "1"
    sidecar.said("recovered: requests are scored again")
    # The other's neighbours in the same batch are scored.
    batch = pb.RouteBatchRequest(requests=[pb.RouteRequest(text=text) for text in ("rice", POISON, "capital")])
    results = sidecar.route.RouteBatch(batch, timeout=60).results
    assert [result.response.bundle_version for result in results] == ["1", "", "1"]
