"""What was acknowledged is in the store, whoever is killed meanwhile."""

import random
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import grpc
import psutil
import pytest

from sidecar.ledger.importer import Importer
from sidecar.ledger.settings import LedgerConfig
from sidecar.wire import router_pb2 as pb
from sidecar.wire import router_pb2_grpc
from tests.faults.conftest import StartSidecar
from tests.faults.sidecars import NO_RETRIES, PATIENCE_S, PLAIN, START, Sidecar, until
from tests.faults.test_disks import fill

ROUNDS, REPORTERS, WORKERS = 8, 4, 2


def keeping(directory: Path) -> str:
    return f'ledger = {{ directory = "{directory}", free_bytes = 0 }}'


class Reporter(threading.Thread):
    """Reports outcomes one after the other, and remembers which were acknowledged."""

    def __init__(self, sidecar: Sidecar, number: int) -> None:
        super().__init__(daemon=True)
        self._stub = router_pb2_grpc.RouterServiceStub(sidecar.connect(NO_RETRIES))  # type: ignore[no-untyped-call]
        self._number = number
        self.acknowledged: list[tuple[str, str]] = []
        self.failed = 0
        self.stop = threading.Event()

    def run(self) -> None:
        count = 0
        while not self.stop.is_set():
            count += 1
            key = f"{self._number}-{count}"
            try:
                name = self._stub.Route(pb.RouteRequest(text=PLAIN), timeout=5, wait_for_ready=True).decision_id
                outcome = pb.Outcome(decision_id=name, key=key, latency_ms=5, quality=1.0)
                request = pb.ReportOutcomeRequest(outcomes=[outcome])
                reply = self._stub.ReportOutcome(request, timeout=5, wait_for_ready=True)
                assert reply.durable
            except grpc.RpcError:
                self.failed += 1
            else:
                self.acknowledged.append((name, key))


@pytest.mark.slow
def test_no_acknowledged_outcome_is_lost_or_doubled_whoever_is_killed(serve: StartSidecar, tmp_path: Path) -> None:
    directory = tmp_path / "ledger"
    sidecar = serve(WORKERS, more=keeping(directory))
    chance = random.Random(1)
    reporters = [Reporter(sidecar, number) for number in range(REPORTERS)]
    for reporter in reporters:
        reporter.start()
    kinds = [sidecar.workers, lambda: sidecar._children("sidecar.observer")]

    def more() -> None:
        enough = sum(len(reporter.acknowledged) for reporter in reporters) + 20
        until(lambda: sum(len(reporter.acknowledged) for reporter in reporters) > enough)

    for number in range(ROUNDS):
        more()
        victims: list[psutil.Process] = until(kinds[number % 2])
        chance.choice(victims).kill()
    more()
    for reporter in reporters:
        reporter.stop.set()
    for reporter in reporters:
        reporter.join(PATIENCE_S)
    acknowledged = [one for reporter in reporters for one in reporter.acknowledged]
    sidecar.close()
    ended = threading.Event()
    ended.set()
    Importer(LedgerConfig(directory=str(directory))).run(
        ended
    )  # if the observer was gone at the end: as the next one would
    with closing(sqlite3.connect(directory / "ledger.sqlite")) as store:
        kept = store.execute("SELECT lower(hex(decision_id)), key FROM outcomes").fetchall()
    assert len(kept) == len(set(kept))
    assert set(acknowledged) <= set(kept)
    assert len(acknowledged) > 20 * ROUNDS


def test_two_sidecars_do_not_share_a_ledgers_directory(serve: StartSidecar, tmp_path: Path) -> None:
    sidecar = serve(1, more=keeping(tmp_path / "ledger"))
    second = subprocess.run(
        [*START, "--config", str(sidecar.config), "--listen", "127.0.0.1:0"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert second.returncode != 0
    assert "is in use by another sidecar" in second.stderr


def test_sighup_keeps_what_the_fleet_learned_and_the_ledger_goes_on(serve: StartSidecar, tmp_path: Path) -> None:
    sidecar = serve(1, more=keeping(tmp_path / "ledger"))
    first = sidecar.route.Route(pb.RouteRequest(text=PLAIN), timeout=PATIENCE_S)
    outcome = pb.Outcome(decision_id=first.decision_id, latency_ms=2500, first_token_ms=2000, output_tokens=11)
    sidecar.route.ReportOutcome(pb.ReportOutcomeRequest(outcomes=[outcome]), timeout=PATIENCE_S)

    def seconds() -> float:
        reply = sidecar.route.Route(pb.RouteRequest(text=PLAIN), timeout=PATIENCE_S, wait_for_ready=True)
        return max((entry.expected_seconds for entry in reply.ranking if entry.model == first.model), default=0.0)

    until(lambda: seconds() > 1.0)
    sidecar.process.send_signal(signal.SIGHUP)
    sidecar.said("SIGHUP: all processes are replaced")
    assert seconds() > 1.0
    reply = sidecar.route.Route(pb.RouteRequest(text=PLAIN), timeout=PATIENCE_S, wait_for_ready=True)
    outcome = pb.Outcome(decision_id=reply.decision_id, quality=1.0, source="judge")
    told = sidecar.route.ReportOutcome(pb.ReportOutcomeRequest(outcomes=[outcome]), timeout=PATIENCE_S)
    assert told.durable


@pytest.fixture
def ledger_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    disk = tmp_path / "ledger-disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here; this test needs root")
    try:
        yield disk
    finally:
        command = ["umount", "--lazy", str(disk)]
        subprocess.run(command, check=True)


def test_while_its_disk_is_full_outcomes_are_refused_and_routing_goes_on(
    serve: StartSidecar, ledger_disk: Path
) -> None:
    sidecar = serve(1, more=keeping(ledger_disk))
    stub = router_pb2_grpc.RouterServiceStub(sidecar.connect(NO_RETRIES))  # type: ignore[no-untyped-call]
    answers: dict[str, str] = {}

    def report() -> str:
        name = stub.Route(pb.RouteRequest(text=PLAIN), timeout=PATIENCE_S).decision_id
        outcomes = [pb.Outcome(decision_id=name, latency_ms=5)]
        try:
            durable = stub.ReportOutcome(pb.ReportOutcomeRequest(outcomes=outcomes), timeout=PATIENCE_S).durable
            answers[name] = "durable" if durable else "taken"
        except grpc.RpcError as refused:
            answers[name] = f"{refused.code().name}: {refused.details()}"
        return answers[name]

    assert [report() for _ in range(5)] == ["durable"] * 5
    filler = fill(ledger_disk)
    until(lambda: report().startswith("UNAVAILABLE"))
    for _ in range(5):
        assert report().startswith("UNAVAILABLE: ledger")
    filler.unlink()
    until(lambda: report() == "durable")
    sidecar.close()
    with closing(sqlite3.connect(ledger_disk / "ledger.sqlite")) as store:
        kept = [name for (name,) in store.execute("SELECT lower(hex(decision_id)) FROM outcomes")]
    assert len(kept) == len(set(kept))
    assert {name for name, answer in answers.items() if answer == "durable"} <= set(kept)
