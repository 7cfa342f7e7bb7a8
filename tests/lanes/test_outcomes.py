"""What becomes of decisions, over real gRPC on both lanes: into the fleet's live state and into the ledger."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from sidecar.config import CandidateConfig, SegmentConfig
from sidecar.fleet.settings import BreakerConfig, BudgetConfig, FleetConfig
from sidecar.ledger.importer import Importer
from sidecar.ledger.settings import LedgerConfig
from sidecar.wire import fleet_pb2, fleet_pb2_grpc
from sidecar.wire import router_pb2 as pb
from tests.lanes.conftest import Running, Start

PATIENCE_S = 20.0
ID = "0" * 32


def route(sidecar: Running, text: str = "rice", **fields: Any) -> pb.RouteResponse:
    reply: pb.RouteResponse = sidecar.stub.Route(pb.RouteRequest(text=text, **fields), timeout=PATIENCE_S)
    return reply


def report(sidecar: Running, *outcomes: pb.Outcome) -> pb.ReportOutcomeResponse:
    reply: pb.ReportOutcomeResponse = sidecar.stub.ReportOutcome(
        pb.ReportOutcomeRequest(outcomes=outcomes), timeout=PATIENCE_S
    )
    return reply


def refusal(sidecar: Running, *outcomes: pb.Outcome) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        report(sidecar, *outcomes)
    return caught.value


def reasons(reply: pb.RouteResponse) -> set[str]:
    return {pb.Reason.Name(reason).removeprefix("REASON_") for reason in reply.reasons}


def load(sidecar: Running) -> dict[str, fleet_pb2.CandidateLoad]:
    stub: Any = fleet_pb2_grpc.FleetServiceStub(sidecar.channel)  # type: ignore[no-untyped-call]
    reply = stub.Fleet(fleet_pb2.FleetRequest(), timeout=PATIENCE_S)
    return {row.candidate: row for row in reply.candidates}


def eventually(look: Callable[[], Any], true: Callable[[Any], bool]) -> Any:
    """What is seen once it is as it must be: what one worker learns is merged every few milliseconds."""
    end = time.monotonic() + PATIENCE_S
    while True:
        seen = look()
        if true(seen):
            return seen
        assert time.monotonic() < end, seen


def answered(reply: pb.RouteResponse, **fields: Any) -> pb.Outcome:
    return pb.Outcome(**{"decision_id": reply.decision_id, "latency_ms": 1200, "first_token_ms": 200, **fields})


def test_without_a_ledger_outcomes_feed_the_fleet_and_it_says_so(sidecar: Running) -> None:
    first = route(sidecar)
    assert report(sidecar, answered(first, output_tokens=101)) == pb.ReportOutcomeResponse(accepted=1, durable=False)
    eventually(lambda: route(sidecar).ranking[0].expected_seconds, lambda seconds: seconds > 0.2)
    row = eventually(lambda: load(sidecar)[first.model], lambda row: row.outcomes == 1)
    assert row.first_token_seconds == pytest.approx(0.2, rel=1e-3)


def test_what_is_acknowledged_is_in_the_journal_and_is_imported_once(
    start: Start, transport: str, tmp_path: Path
) -> None:
    ledger = LedgerConfig(directory=str(tmp_path / "ledger"), flush_ms=1.0)
    sidecar = start(transport, ledger=ledger)
    reply = route(sidecar, session_id="chat", segment="a")
    outcome = answered(reply, quality=0.75, source="judge", key="k")
    for _ in range(3):  # a caller that lost the answer sends it again
        assert report(sidecar, outcome) == pb.ReportOutcomeResponse(accepted=1, durable=True)
    sidecar.drain()
    importer = Importer(ledger)
    stop = threading.Event()
    stop.set()
    importer.run(stop)
    assert (importer.imported.decisions, importer.imported.outcomes, importer.imported.repeated) == (1, 1, 2)


def test_many_callers_are_all_acknowledged(start: Start, transport: str, tmp_path: Path) -> None:
    sidecar = start(transport, ledger=LedgerConfig(directory=str(tmp_path / "ledger")))
    replies = [route(sidecar, text=f"question {number}") for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda reply: report(sidecar, *[answered(reply)] * 3), replies * 5))
    assert [one.accepted for one in told] == [3] * 100
    assert all(one.durable for one in told)


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (pb.Outcome(decision_id="nonsense", quality=1.0), "outcomes[1].decision_id: is no id of a decision"),
        (pb.Outcome(decision_id=ID), "outcomes[1].outcome: says nothing"),
        (pb.Outcome(decision_id=ID, quality=1.5), "outcomes[1].quality: must be from 0 to 1"),
        (pb.Outcome(decision_id=ID, quality=float("nan")), "outcomes[1].quality"),
        (pb.Outcome(decision_id=ID, quality=1.0, source="Some Body"), "outcomes[1].source: must be one of"),
        (pb.Outcome(decision_id=ID, cost_usd=-1.0), "outcomes[1].cost_usd"),
        (pb.Outcome(decision_id=ID, quality=1.0, error=99), "outcomes[1].error: 99 is no OutcomeError"),  # type: ignore[arg-type]
        (pb.Outcome(decision_id=ID, quality=1.0, observed_unix_seconds=9e12), "outcomes[1].observed_unix_seconds"),
        (pb.Outcome(decision_id=ID, quality=1.0, headers={"retry-after": "3"}), "outcomes[1].model: is missing"),
        (pb.Outcome(decision_id=ID, quality=1.0, session_id="x" * 300), "outcomes[1].session_id"),
    ],
)
def test_a_bad_outcome_is_named_and_none_of_its_neighbours_is_taken(
    sidecar: Running, outcome: pb.Outcome, words: str
) -> None:
    first = route(sidecar)
    error = refusal(sidecar, answered(first), outcome)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert words in str(error.details())
    assert load(sidecar)[first.model].outcomes == 0


def test_none_and_too_many_outcomes_are_refused(start: Start, transport: str) -> None:
    sidecar = start(transport, max_batch_items=2)
    assert refusal(sidecar).details() == "outcomes is empty: send at least one."
    error = refusal(sidecar, *[pb.Outcome(decision_id=ID, quality=1.0)] * 3)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "at most 2" in str(error.details())


def test_a_candidate_that_fails_is_left_alone_and_the_fallbacks_skip_it(start: Start, transport: str) -> None:
    breaker = BreakerConfig(consecutive_errors=3, first_backoff_seconds=60.0, max_backoff_seconds=60.0)
    sidecar = start(transport, fleet=FleetConfig(breaker=breaker))
    first = route(sidecar)
    for _ in range(3):
        failed = route(sidecar)
        assert failed.model == first.model
        report(sidecar, pb.Outcome(decision_id=failed.decision_id, error=pb.OUTCOME_ERROR_SERVER))
    after = route(sidecar)
    assert after.model != first.model
    assert first.model not in [entry.model for entry in after.ranking]
    assert "LOAD" in reasons(after)
    assert load(sidecar)[first.model].state == fleet_pb2.CANDIDATE_STATE_OPEN


def test_where_all_cool_down_one_answers_and_says_when_it_is_back(start: Start, transport: str) -> None:
    sidecar = start(transport)
    models = [entry.model for entry in route(sidecar).ranking]
    for number, model in enumerate(models):
        reply = route(sidecar, constraints=pb.Constraints(allow=[model]))
        limited = pb.Outcome(
            decision_id=reply.decision_id,
            error=pb.OUTCOME_ERROR_RATE_LIMITED,
            retry_after_ms=1000 * (30 + 10 * (number != 1)),
        )
        report(sidecar, limited)
    last = route(sidecar)
    assert "LAST_RESORT" in reasons(last)
    assert last.model == models[1]
    assert 20_000 < last.retry_after_ms <= 30_000


def test_a_providers_headers_close_it_until_its_limits_are_reset(start: Start, transport: str) -> None:
    sidecar = start(transport)
    first = route(sidecar)
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "5m0s"}
    report(sidecar, answered(first, model=first.model, headers=headers))
    eventually(lambda: route(sidecar).model, lambda model: model != first.model)


def test_in_log_only_mode_the_callers_model_answers_and_the_decision_is_told(start: Start, transport: str) -> None:
    sidecar = start(transport, segments={"careful": SegmentConfig(log_only=True)})
    free = route(sidecar)
    logged = route(sidecar, segment="careful", current_model="their-own")
    assert (free.applied, logged.applied) == (True, False)
    assert logged.model == "their-own"
    assert logged.ranking[0].model == free.model
    ours = free.ranking[-1].model
    route(sidecar, segment="careful", current_model=ours)
    rows = eventually(lambda: load(sidecar), lambda rows: rows[ours].decisions == 1)
    assert rows[free.model].decisions == 1  # what was not applied is nowhere in flight


def test_a_session_stays_for_its_caches_sake_until_its_model_fails(start: Start, transport: str) -> None:
    names = [entry.candidate for entry in route(start(transport)).ranking]
    candidates = tuple(
        CandidateConfig(name=name, input_usd_per_mtok=100.0, output_usd_per_mtok=0.0, cached_input_usd_per_mtok=1.0)
        for name in names
    )
    sidecar = start(transport, candidates=candidates)
    best, other, *_ = (entry.candidate for entry in route(sidecar, prompt_tokens=50_500).ranking)
    only = pb.Constraints(allow=[other])
    first = route(sidecar, session_id="chat", prompt_tokens=50_000, constraints=only)
    assert first.ranking[0].candidate == other
    second = route(sidecar, session_id="chat", prompt_tokens=50_500)
    assert second.ranking[0].candidate == other
    assert "STICKY" in reasons(second)
    report(sidecar, pb.Outcome(decision_id=second.decision_id, error=pb.OUTCOME_ERROR_TIMEOUT, session_id="chat"))
    third = route(sidecar, session_id="chat", prompt_tokens=51_000)
    assert third.ranking[0].candidate == best
    assert "STICKY" not in reasons(third)


def test_a_budget_that_is_used_up_closes_its_candidate_for_its_segment_alone(start: Start, transport: str) -> None:
    budget = BudgetConfig(name="trial", segments=("trial",), requests_per_minute=6.0, burst_seconds=20.0)
    sidecar = start(transport, budgets=(budget,))
    assert "LAST_RESORT" not in reasons(route(sidecar, segment="trial"))
    eventually(lambda: reasons(route(sidecar, segment="trial")), lambda why: "LAST_RESORT" in why)
    assert "LAST_RESORT" not in reasons(route(sidecar, segment="paid"))


def test_a_failure_and_the_answer_that_the_gateway_fell_back_to_each_count_for_their_model(
    start: Start, transport: str, tmp_path: Path
) -> None:
    names = [entry.candidate for entry in route(start(transport)).ranking]
    candidates = tuple(CandidateConfig(name=name, model=f"vendor/{name}", aliases=(f"{name}-x",)) for name in names)
    breaker = BreakerConfig(consecutive_errors=3, first_backoff_seconds=60.0, max_backoff_seconds=60.0)
    ledger = LedgerConfig(directory=str(tmp_path / "ledger"), flush_ms=1.0)
    sidecar = start(transport, candidates=candidates, fleet=FleetConfig(breaker=breaker), ledger=ledger)
    first = route(sidecar)
    decided, fallback = first.ranking[0].candidate, first.ranking[1].candidate
    for number in range(3):
        reply = route(sidecar, constraints=pb.Constraints(allow=[decided]))
        failed = pb.Outcome(decision_id=reply.decision_id, key="attempt-1", error=pb.OUTCOME_ERROR_SERVER)
        other = (fallback, f"vendor/{fallback}", f"{fallback}-x")[number]
        after = answered(reply, key="attempt-2", model=other, output_tokens=101)
        for outcome in (failed, after, failed, after):  # a caller that lost the answer sends it again
            report(sidecar, outcome)
    both = (f"vendor/{decided}", f"vendor/{fallback}")
    rows = eventually(lambda: load(sidecar), lambda rows: all(rows[name].outcomes >= 3 for name in both))
    told = {name: (rows[f"vendor/{name}"].outcomes, rows[f"vendor/{name}"].faults) for name in (decided, fallback)}
    assert told == {decided: (3, 3), fallback: (3, 0)}
    assert rows[f"vendor/{decided}"].state == fleet_pb2.CANDIDATE_STATE_OPEN
    assert rows[f"vendor/{fallback}"].first_token_seconds == pytest.approx(0.2, rel=1e-3)
    assert rows[f"vendor/{decided}"].in_flight == 1.0  # of the first decision nothing was said
    sidecar.drain()
    importer = Importer(ledger)
    stop = threading.Event()
    stop.set()
    importer.run(stop)
    assert (importer.imported.outcomes, importer.imported.repeated) == (6, 6)


def test_a_candidate_that_hangs_is_left_alone_and_the_fleet_says_why(start: Start, transport: str) -> None:
    breaker = BreakerConfig(
        silence_seconds=0.2,
        silence_phi=3.0,
        first_backoff_seconds=60.0,
        max_backoff_seconds=60.0,
        slow_start_seconds=0.0,
    )
    sidecar = start(transport, fleet=FleetConfig(breaker=breaker))
    first, second, *_ = (entry.model for entry in route(sidecar).ranking)

    def ask(model: str) -> pb.RouteResponse:
        return route(sidecar, constraints=pb.Constraints(allow=[model]))

    for _ in range(30):
        for model in (first, second):
            report(sidecar, answered(ask(model)))
    hung: list[pb.RouteResponse] = []
    # There is always one in flight that is answered, so that a restart of the gateway is out of the question.
    others = [ask(second)]

    def asked_in_vain() -> fleet_pb2.CandidateLoad:
        hung.append(ask(first))
        others.append(ask(second))
        report(sidecar, answered(others.pop(0)))
        return load(sidecar)[first]

    row = eventually(asked_in_vain, lambda row: row.state == fleet_pb2.CANDIDATE_STATE_SILENT)
    assert row.suspicions == 1
    assert load(sidecar)[second].state == fleet_pb2.CANDIDATE_STATE_CLOSED
    assert first not in [entry.model for entry in route(sidecar).ranking]
    # Not an answer yet, but it lives.
    report(sidecar, pb.Outcome(decision_id=hung[0].decision_id, first_token_ms=100, in_progress=True))
    eventually(lambda: load(sidecar)[first].state, lambda state: state == fleet_pb2.CANDIDATE_STATE_CLOSED)
