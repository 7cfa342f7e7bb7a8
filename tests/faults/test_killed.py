import os
import signal
import socket
import time
from pathlib import Path

import grpc
import psutil
import pytest

from sidecar.wire import bundle_pb2
from tests.faults.conftest import StartSidecar
from tests.faults.sidecars import Load, until
from tests.lanes.conftest import TRANSPORTS

WORKERS, ROUNDS = 3, 6


@pytest.mark.slow
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_killed_workers_cost_only_the_calls_that_they_held_and_a_client_that_retries_none(
    serve: StartSidecar, transport: str
) -> None:
    sidecar = serve(WORKERS, transport)
    clients = 3
    with Load(sidecar, clients) as patient, Load(sidecar, clients, retries=False) as plain:
        for _ in range(ROUNDS):
            victim = until(lambda: found if len(found := sidecar.serving()) == WORKERS else None)[0]
            since = len(sidecar.lines)
            victim.kill()
            sidecar.said(f"({victim.pid}) was killed by SIGKILL and is started again", since)
            patient.more()
            plain.more()
    assert patient.failed == {}
    # Each client has one call in flight.
    assert sum(plain.failed.values()) <= ROUNDS * clients
    assert all(status.startswith("UNAVAILABLE") for status in plain.failed)


def test_the_only_worker_comes_back(serve: StartSidecar) -> None:
    sidecar = serve(1)
    (victim,) = sidecar.workers()
    victim.kill()
    sidecar.said("was killed by SIGKILL and is started again")
    assert sidecar.version() == "1"
    assert {worker.pid for worker in sidecar.workers()} != {victim.pid}


def test_a_killed_worker_comes_back_with_the_bundle_that_all_run_by_then(serve: StartSidecar) -> None:
    sidecar = serve(1)
    sidecar.activate("v2")
    sidecar.workers()[0].kill()
    sidecar.said("is started again")
    assert sidecar.version() == "2"
    assert sidecar.list().state.previous.directory == "v1"  # for a rollback, in memory again


def test_what_an_ended_worker_served_stays_counted(serve: StartSidecar) -> None:
    sidecar = serve(2)
    until(lambda: sidecar.all_connected(2))
    amount = 40
    for _ in range(amount):
        assert sidecar.version_anywhere() == "1"
    until(lambda: sidecar.info().counters.decisions == amount)
    os.kill(sidecar.process.pid, signal.SIGHUP)
    sidecar.said("SIGHUP: all processes are replaced")
    # The control process was replaced too, so what is counted is what was served since.
    for _ in range(amount):
        sidecar.version_anywhere()
    until(lambda: sidecar.all_connected(2))
    until(lambda: sidecar.info().counters.decisions == amount)
    sidecar.workers()[0].terminate()  # in good order: the last second counts too
    until(lambda: sidecar.all_connected(2))
    until(lambda: sidecar.info().counters.decisions == amount)


@pytest.mark.slow
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_killed_control_process_costs_no_call_and_comes_back(serve: StartSidecar, transport: str) -> None:
    sidecar = serve(2, transport)
    until(lambda: sidecar.all_connected(2))
    with Load(sidecar, retries=False) as plain:
        for version in ("2", "3"):
            victim = sidecar.control()
            since = len(sidecar.lines)
            victim.kill()
            sidecar.said(f"control ({victim.pid}) was killed by SIGKILL and is started again", since)
            plain.more()
            until(lambda: sidecar.all_connected(2))
            assert sidecar.activate(f"v{version}").state.running.directory == f"v{version}"
            assert sidecar.version() == version
        state = sidecar.list().state
        assert (state.running.directory, state.previous.directory) == ("v3", "v2")
        sidecar.control().kill()
        until(lambda: sidecar.all_connected(2))
        # The workers tell the new control process what runs, and what ran before.
        assert sidecar.list().state == state
    assert plain.failed == {}


def test_operations_say_so_while_there_is_no_control_process(serve: StartSidecar) -> None:
    sidecar = serve(1)
    sidecar.control().suspend()
    call = sidecar.bundles.ListBundles.future(bundle_pb2.ListBundlesRequest(), timeout=30)
    control = sidecar.control()
    control.kill()
    with pytest.raises(grpc.RpcError) as caught:
        call.result()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "control process" in (caught.value.details() or "")
    assert sidecar.version() == "1"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_when_the_supervisor_is_killed_the_others_end_and_the_port_is_free(serve: StartSidecar, transport: str) -> None:
    sidecar = serve(2, transport)
    family = psutil.Process(sidecar.process.pid).children(recursive=True)
    assert len(family) == 3
    runtimes = {Path(word) for each in family for word in each.cmdline() if Path(word).name.startswith("router-")}
    assert [runtime.is_dir() for runtime in runtimes] == [True]
    with Load(sidecar) as load:
        killed = time.monotonic()
        sidecar.process.kill()
        _, alive = psutil.wait_procs(family, 20)
    assert alive == []
    assert [runtime.exists() for runtime in runtimes] == [False]
    assert [call for call in load.calls if call.began < killed and call.status != "OK"] == []
    host, port = sidecar.address.rsplit(":", 1)
    with socket.socket() as next_one:
        next_one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        next_one.bind((host, int(port)))
