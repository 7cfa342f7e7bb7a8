"""Budgets that refuse, over real gRPC on both lanes."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner

from sidecar.cli import main
from sidecar.config import CandidateConfig
from sidecar.errors import OverBudget
from sidecar.fleet.settings import BudgetConfig
from sidecar.ledger.importer import Importer
from sidecar.ledger.settings import LedgerConfig
from sidecar.ledger.state import existing_store
from sidecar.routing.exclusion import Exclusion
from sidecar.wire import fleet_pb2, fleet_pb2_grpc
from sidecar.wire import router_pb2 as pb
from tests.lanes.asking import PLAIN
from tests.lanes.conftest import Running, Start

PATIENCE_S = 20.0
FREE, PAID = (pb.RouteRequest(text=PLAIN, segment=segment) for segment in ("free", "paid"))
# One request and a fifth of the next are saved up in an hour; so after one it opens in 40 minutes.
SLOW = BudgetConfig(
    name="slow", segments=("free",), requests_per_minute=0.02, burst_seconds=3600.0, when_used_up="refuse"
)
OPENS_MS = pytest.approx(2_400_000, abs=60_000)


def until(look: Callable[[], Any]) -> Any:
    """What is seen as soon as anything is."""
    end = time.monotonic() + PATIENCE_S
    while (seen := look()) is None:
        assert time.monotonic() < end, "it did not come about in time"
    return seen


def refused(sidecar: Running, request: pb.RouteRequest = FREE) -> Any:
    """The refusal; None if there is an answer."""
    try:
        sidecar.stub.Route(request, timeout=PATIENCE_S)
    except grpc.RpcError as error:
        return error
    return None


def spend(sidecar: Running, request: pb.RouteRequest = FREE) -> None:
    """Asks once, and waits until that is taken off the budgets."""
    sidecar.stub.Route(request, timeout=PATIENCE_S)
    live = sidecar.server.sensing.live
    merged = live.version + 2
    until(lambda: True if live.version >= merged else None)


@pytest.fixture
def spent(start: Start, transport: str) -> Running:
    """A sidecar whose budget of one segment is used up."""
    sidecar = start(transport, budgets=(SLOW,))
    spend(sidecar)
    return sidecar


def test_a_used_up_budget_refuses_its_segment_alone_and_says_when_it_opens(spent: Running) -> None:
    error = refused(spent)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.details().startswith("budgets.slow: is used up for segment 'free' and opens in ")
    assert "Z); try again then" in error.details()
    told = dict(error.trailing_metadata())
    assert told["grpc-retry-pushback-ms"] == "-1"  # a client that obeys would hold the call until then
    assert int(told["retry-after-ms"]) == OPENS_MS
    assert refused(spent, PAID) is None


def test_items_of_a_batch_are_refused_one_by_one(spent: Running) -> None:
    reply = spent.stub.RouteBatch(pb.RouteBatchRequest(requests=[PAID, FREE, PAID]), timeout=PATIENCE_S)
    assert [result.WhichOneof("result") for result in reply.results] == ["response", "error", "response"]
    error = reply.results[1].error
    assert error.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert error.message.startswith("budgets.slow: is used up")
    assert error.retry_after_ms == OPENS_MS


def test_messages_of_a_stream_are_refused_one_by_one(spent: Running) -> None:
    requests = [pb.RouteStreamRequest(sequence=n, request=each) for n, each in enumerate([FREE, PAID, FREE])]
    replies = list(spent.stub.RouteStream(iter(requests), timeout=PATIENCE_S))
    assert [reply.sequence for reply in replies] == [0, 1, 2]
    assert [reply.result.WhichOneof("result") for reply in replies] == ["error", "response", "error"]
    assert replies[0].result.error.HasField("retry_after_ms")


def test_refusals_are_counted_as_such_and_use_nothing_up(spent: Running) -> None:
    before = spent.stub.Info(pb.InfoRequest(), timeout=PATIENCE_S).counters
    for _ in range(3):
        assert refused(spent) is not None
    after = spent.stub.Info(pb.InfoRequest(), timeout=PATIENCE_S).counters
    assert after.over_budget - before.over_budget == 3
    assert after.decisions - before.decisions == 3
    assert (after.invalid, after.shed) == (before.invalid, before.shed) == (0, 0)


def test_a_short_wait_is_told_to_the_clients_retry_policy(start: Start, transport: str) -> None:
    rate = BudgetConfig(name="rate", requests_per_minute=10.0, burst_seconds=6.0, when_used_up="refuse")
    sidecar = start(transport, budgets=(rate,))
    spend(sidecar)
    told = dict(refused(sidecar).trailing_metadata())
    assert told["grpc-retry-pushback-ms"] == told["retry-after-ms"]
    assert 0 < int(told["retry-after-ms"]) <= 6_000
    assert OverBudget("x", "", 11.0, "").trailers == (("grpc-retry-pushback-ms", "-1"), ("retry-after-ms", "11000"))


def test_in_log_only_mode_the_callers_own_model_answers(start: Start, transport: str) -> None:
    sidecar = start(transport, budgets=(SLOW,), log_only=True)
    mine = pb.RouteRequest(text=PLAIN, segment="free", current_model="large")
    spend(sidecar, mine)
    reply = sidecar.stub.Route(mine, timeout=PATIENCE_S)
    assert reply.model == "large"
    assert pb.REASON_LAST_RESORT in reply.reasons
    assert reply.retry_after_ms == OPENS_MS


def test_what_is_refused_is_not_in_the_ledger(start: Start, transport: str, tmp_path: Path) -> None:
    ledger = LedgerConfig(directory=str(tmp_path / "ledger"), flush_ms=2.0)
    sidecar = start(transport, budgets=(SLOW,), ledger=ledger)
    spend(sidecar)
    assert refused(sidecar) is not None
    journal = sidecar.server.journal
    assert journal is not None
    sidecar.drain()
    assert journal.counts().decisions == 1


def test_the_fleet_tells_what_is_used_of_each_budget_and_when_it_opens(start: Start, transport: str) -> None:
    money = BudgetConfig(name="money", candidates=("large",), usd_per_day=9.0, tokens_per_minute=6e6)
    sidecar = start(transport, budgets=(SLOW, money))
    spend(sidecar)
    stub: Any = fleet_pb2_grpc.FleetServiceStub(sidecar.channel)  # type: ignore[no-untyped-call]
    reply = stub.Fleet(fleet_pb2.FleetRequest(), timeout=PATIENCE_S)
    slow, open_ = reply.budgets
    assert (slow.budget, list(slow.segments), list(slow.candidates)) == ("slow", ["free"], [])
    assert (slow.exhausted, slow.refuses, open_.exhausted, open_.refuses) == (True, True, False, False)
    (requests,) = slow.limits
    assert (requests.unit, requests.window_seconds) == (fleet_pb2.BUDGET_UNIT_REQUESTS, 3600.0)
    assert (requests.used, requests.limit) == (pytest.approx(1.0, abs=0.02), pytest.approx(1.2))
    assert 1000.0 * slow.recovery_seconds == OPENS_MS
    assert slow.opens.seconds - reply.time.seconds == pytest.approx(slow.recovery_seconds, abs=2.0)
    assert not open_.HasField("recovery_seconds")
    assert not open_.HasField("opens")
    assert [(each.unit, each.limit, each.window_seconds) for each in open_.limits] == [
        (fleet_pb2.BUDGET_UNIT_TOKENS, 1e6, 10.0),
        (fleet_pb2.BUDGET_UNIT_USD, 9.0, 86400.0),
    ]
    printed = CliRunner().invoke(main, ["fleet", "--target", sidecar.address]).output.splitlines()
    heading = next(line for line in printed if line.startswith("budget "))
    below = printed[printed.index(heading) + 2 :]
    assert [line.split()[0] for line in below] == ["slow", "money", "money"]
    assert "refuses" in below[0]
    assert below[0].rstrip().endswith("Z")
    assert below[2].split()[3:] == ["usd", "0.0000", "9", "a", "day", "last", "resort", "-"]


def test_the_ledger_tells_of_each_candidate_why_it_could_not_be_chosen(
    start: Start, transport: str, tmp_path: Path
) -> None:
    ledger = LedgerConfig(directory=str(tmp_path / "ledger"), flush_ms=2.0)
    budget = BudgetConfig(name="slow", candidates=("large",), requests_per_minute=0.02, burst_seconds=3600.0)
    entries = (CandidateConfig(name="small", context_window=50), CandidateConfig(name="large"))
    sidecar = start(transport, budgets=(budget,), ledger=ledger, candidates=entries)
    large = pb.RouteRequest(text=PLAIN, constraints=pb.Constraints(allow=["large"]))
    spend(sidecar, large)
    ids = [
        sidecar.stub.Route(request, timeout=PATIENCE_S).decision_id
        for request in (FREE, large, pb.RouteRequest(text=PLAIN, prompt_tokens=60))
    ]
    sidecar.drain()
    importer, stop = Importer(ledger), threading.Event()
    stop.set()
    importer.run(stop)
    store = existing_store(ledger)
    found = {each.decision_id.hex(): each for each in store.find([bytes.fromhex(each) for each in ids])}
    store.close()
    order = [found[ids[0]].candidates.index(each) for each in ("small", "medium", "large")]
    told = []
    for each in ids:
        excluded = found[each].excluded()
        assert excluded is not None
        told.append([excluded[index] for index in order])
    assert told == [
        [Exclusion.NONE, Exclusion.NOT_OFFERED, Exclusion.BUDGET],
        [Exclusion.REQUEST, Exclusion.NOT_OFFERED, Exclusion.BUDGET],
        [Exclusion.CONTEXT_WINDOW, Exclusion.NOT_OFFERED, Exclusion.BUDGET],
    ]
    assert "LAST_RESORT" in found[ids[1]].reasons
    assert "LAST_RESORT" in found[ids[2]].reasons
