import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from sidecar.wire import router_pb2 as pb
from tests.bundle.keys import key_of
from tests.conftest import MakeBundle
from tests.faults.conftest import StartSidecar
from tests.faults.models import HANGS, SLOW, waits_at_words
from tests.faults.sidecars import PATIENCE_S, Load, Sidecar, until
from tests.lanes.conftest import TRANSPORTS


def family_of(sidecar: Sidecar) -> list[psutil.Process]:
    return psutil.Process(sidecar.process.pid).children(recursive=True)


# gRPC's core ends calls as CANCELLED that reach a server which has begun to stop; so long may one be on its way.
WIRE_S = 0.1


def begun_before(load: Load, moment: float) -> list[Any]:
    failed = [call for call in load.calls if call.began < moment and call.status != "OK"]
    return [call for call in failed if call.began < moment - WIRE_S or not call.status.startswith("CANCELLED")]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_was_started_before_the_end_is_answered(
    serve: StartSidecar, transport: str, number: signal.Signals
) -> None:
    sidecar = serve(2, transport)
    family = family_of(sidecar)
    with Load(sidecar, clients=6, retries=False, timeout_s=2.0) as load:
        told = time.monotonic()
        sidecar.process.send_signal(number)
        assert sidecar.end() == 0
    assert begun_before(load, told) == []
    assert [process for process in family if process.is_running()] == []
    assert not any("ERROR" in line for line in sidecar.lines)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_end_waits_for_a_slow_answer(
    serve: StartSidecar, make_bundle: MakeBundle, registry: Path, transport: str
) -> None:
    make_bundle(registry / "slow", model=waits_at_words, version="slow")
    (registry / "active").write_text("slow\n")
    sidecar = serve(1, transport)
    call = sidecar.route.Route.future(pb.RouteRequest(text=f"what is {SLOW}"), timeout=PATIENCE_S)
    sidecar.info()  # over the same connection, so the call before has arrived
    sidecar.process.send_signal(signal.SIGTERM)
    assert call.result().bundle_version == "slow"
    assert sidecar.end() == 0


def test_the_end_does_not_wait_for_longer_than_drain_seconds(
    serve: StartSidecar, make_bundle: MakeBundle, registry: Path
) -> None:
    make_bundle(registry / "slow", model=waits_at_words, version="slow")
    (registry / "active").write_text("slow\n")
    sidecar = serve(1, more="hang_seconds = 3600")
    family = family_of(sidecar)
    sidecar.config.write_text(sidecar.config.read_text().replace("drain_seconds = 5.0", "drain_seconds = 0.0"))
    sidecar.process.send_signal(signal.SIGHUP)
    sidecar.said("SIGHUP: all processes are replaced")
    sidecar.info()
    (worker,) = (process for process in family_of(sidecar) if "sidecar.worker" in process.cmdline())
    before_s = worker.cpu_times().user
    call = sidecar.route.Route.future(pb.RouteRequest(text=f"what is {HANGS}"), timeout=PATIENCE_S)
    until(lambda: worker.cpu_times().user > before_s + 0.5)  # the model is at it, and holds the transport's thread
    sidecar.process.send_signal(signal.SIGTERM)
    assert sidecar.end() == 0
    assert isinstance(call.exception(), grpc.RpcError)
    assert [process for process in family if process.is_running()] == []


@pytest.mark.slow
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_sighup_replaces_all_processes_and_no_call_fails(serve: StartSidecar, transport: str) -> None:
    sidecar = serve(2, transport)
    before = {process.pid for process in family_of(sidecar)}
    sidecar.activate("v2")
    with Load(sidecar) as load:
        for _ in range(2):
            since = len(sidecar.lines)
            sidecar.process.send_signal(signal.SIGHUP)
            sidecar.said("SIGHUP: all processes are replaced", since)
            load.more()
    assert load.failed == {}
    after = {process.pid for process in family_of(sidecar)}
    assert len(after) == 3
    assert after.isdisjoint(before)
    assert {call.version for call in load.calls} == {"2"}
    until(lambda: sidecar.all_connected(2))
    state = sidecar.list().state
    assert (state.running.directory, state.previous.directory) == ("v2", "v1")


def test_sighup_puts_a_changed_configuration_in_force(serve: StartSidecar) -> None:
    sidecar = serve(2)
    sidecar.config.write_text("max_batch_items = 7\n" + sidecar.config.read_text())
    sidecar.process.send_signal(signal.SIGHUP)
    sidecar.said("SIGHUP: all processes are replaced")
    assert sidecar.info().limits.max_batch_items == 7


def broken_file(config: Path) -> str:
    config.write_text("max_batch_items = many")
    return "not TOML"


def unknown_candidate(config: Path) -> str:
    config.write_text(config.read_text() + '\n[[candidates]]\nname = "huge"\n')
    return "huge"


def bundle_nobody_signed(config: Path) -> str:
    key = key_of(1).write_public(config.parent / "key.pem")
    config.write_text(f'trust = ["{key}"]\n' + config.read_text())
    return "would answer DEGRADED"


@pytest.mark.parametrize("break_it", [broken_file, unknown_candidate, bundle_nobody_signed])
def test_sighup_with_a_broken_configuration_keeps_what_runs(
    serve: StartSidecar, break_it: Callable[[Path], str]
) -> None:
    sidecar = serve(2)
    before = {process.pid for process in family_of(sidecar)}
    sound = sidecar.config.read_text()
    words = break_it(sidecar.config)
    with Load(sidecar) as load:
        sidecar.process.send_signal(signal.SIGHUP)
        assert words in sidecar.said("what ran before runs on")
    assert load.failed == {}
    until(lambda: {process.pid for process in family_of(sidecar)} == before)
    # What starts from now on has the configuration of before, too.
    sidecar.workers()[0].kill()
    sidecar.said("is started again")
    until(lambda: len(sidecar.serving()) == 2)
    # And once it is mended, all is well.
    sidecar.config.write_text(sound)
    sidecar.process.send_signal(signal.SIGHUP)
    sidecar.said("SIGHUP: all processes are replaced")


def test_sighup_with_a_change_that_only_the_second_worker_finds_fault_with_is_taken_back(
    serve: StartSidecar, registry: Path
) -> None:
    sidecar = serve(2)
    first, second = sorted(sidecar.workers(), key=lambda worker: worker.create_time())
    sidecar.config.write_text("max_batch_items = 7\n" + sidecar.config.read_text())
    sidecar.process.send_signal(signal.SIGHUP)
    until(lambda: not first.is_running() or not second.is_running())
    (registry / "v1" / "model.onnx").write_bytes(b"spoilt")  # the next one to start cannot load it
    sidecar.said("what ran before runs on")
    assert sidecar.version() in ("1", "")


def test_two_sighups_in_a_row_leave_no_process_behind(
    serve: StartSidecar, make_bundle: MakeBundle, registry: Path
) -> None:
    make_bundle(registry / "slow", model=waits_at_words, version="slow")
    (registry / "active").write_text("slow\n")
    sidecar = serve(1)
    # The first worker is held by a slow answer, while its successors come.
    call = sidecar.route.Route.future(pb.RouteRequest(text=f"what is {SLOW}"), timeout=PATIENCE_S)
    sidecar.list()
    sidecar.process.send_signal(signal.SIGHUP)
    until(lambda: len(sidecar.workers()) == 2)
    sidecar.process.send_signal(signal.SIGHUP)
    first = sidecar.said("SIGHUP: all processes are replaced")
    sidecar.said("SIGHUP: all processes are replaced", sidecar.lines.index(first) + 1)
    assert call.result().bundle_version == "slow"
    assert len(family_of(sidecar)) == 2


def test_sigterm_during_a_rolling_replacement_ends_at_once(serve: StartSidecar) -> None:
    sidecar = serve(3)
    family = family_of(sidecar)
    sidecar.process.send_signal(signal.SIGHUP)
    until(lambda: len(sidecar.workers()) > 3)
    family = list({*family, *family_of(sidecar)})
    sidecar.process.send_signal(signal.SIGTERM)
    assert sidecar.end() == 0
    assert not any("all processes are replaced" in line for line in sidecar.lines)
    assert [process for process in family if process.is_running()] == []
