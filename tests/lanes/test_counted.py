"""What a worker tells of its decisions and of what it heard of them, over real gRPC on both lanes."""

from pathlib import Path

import grpc
import pytest

from sidecar.config import SegmentConfig
from sidecar.ledger.settings import LedgerConfig
from sidecar.stats import Stats
from sidecar.wire import router_pb2 as pb
from tests.lanes.conftest import Running, Start
from tests.lanes.test_outcomes import answered, report, route


def own(sidecar: Running) -> Stats:
    stats: Stats = sidecar.server.info.own()
    return stats


def reasons(stats: Stats) -> dict[str, int]:
    return {name: number for name, (number,) in stats.reasons.items() if number}


def test_decisions_are_counted_by_reason_and_refused_requests_are_not(sidecar: Running) -> None:
    for _ in range(3):
        route(sidecar)
    with pytest.raises(grpc.RpcError):
        route(sidecar, constraints=pb.Constraints(min_quality=1.0))
    best = route(sidecar).ranking[0].candidate
    route(sidecar, constraints=pb.Constraints(deny=[best]))
    found = reasons(own(sidecar))
    assert found["CONSTRAINT"] == 1
    assert found["LEARNED"] == 5
    assert "DEGRADED" not in found


def test_log_only_decisions_are_counted_and_those_that_disagree(start: Start, transport: str) -> None:
    sidecar = start(transport, segments={"careful": SegmentConfig(log_only=True)})
    ours = [entry.candidate for entry in route(sidecar).ranking]
    for current in (ours[0], ours[-1], "their-own"):
        route(sidecar, segment="careful", current_model=current)
    stats = own(sidecar)
    assert (stats.log_only, stats.disagreements, reasons(stats)["LEARNED"]) == (3, 2, 4)


def test_outcomes_are_counted_as_accepted_or_invalid(start: Start, transport: str, tmp_path: Path) -> None:
    sidecar = start(transport, ledger=LedgerConfig(directory=str(tmp_path), free_bytes=0, flush_ms=2.0))
    reply = route(sidecar)
    report(sidecar, answered(reply), answered(reply, key="again"))
    with pytest.raises(grpc.RpcError):
        report(sidecar, pb.Outcome(decision_id="no id", quality=1.0), answered(reply))
    with pytest.raises(grpc.RpcError):
        report(sidecar)
    stats = own(sidecar)
    assert (stats.outcomes_accepted, stats.outcomes_invalid) == (2, 3)
    assert (stats.ledger_acknowledged, stats.ledger_refused, stats.ledger_waiting) == (2, 0, 0)
    assert stats.ledger_syncs >= 1
    assert stats.ledger_dropped == {"queue": (0,), "room": (0,), "write": (0,)}


def test_without_a_ledger_nothing_is_told_of_one(sidecar: Running) -> None:
    assert own(sidecar).ledger_dropped == {}
