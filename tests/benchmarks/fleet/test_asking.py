import asyncio
from collections.abc import Callable, Sequence

import grpc
import pytest

from benchmarks.cores import Cores
from benchmarks.fleet.asking import Reports, Routed, Sidecar, payloads
from benchmarks.fleet.candidates import Candidate
from benchmarks.fleet.figures import answers_s
from benchmarks.fleet.gateway import Gateway, Journey
from benchmarks.fleet.loop import closed_loop
from benchmarks.fleet.scene import Backstage, Scene, policy, saturation
from benchmarks.fleet.servers import Call, End, Fault
from benchmarks.fleet.workload import Questions, Workload
from sidecar.wire import router_pb2 as pb

from .fake_sidecar import FakeSidecar, serving

NAMES = ["small", "medium", "large"]
SPEED = 50.0
Make = Callable[..., Workload]


@pytest.fixture
def scene(fleet: list[Candidate], questions: Questions) -> Scene:
    return Scene(fleet, questions, [0.5, 0.7, 0.9], None, Cores(None, None))


def run(
    scene: Scene, fake: FakeSidecar, asked: Workload, prepare: Callable[[Gateway], None] = lambda _gateway: None
) -> tuple[list[Journey], Gateway, Backstage]:
    async def together() -> tuple[list[Journey], Gateway, Backstage]:
        backstage = Backstage()
        async with serving(fake) as address:
            journeys, gateway = await closed_loop(scene, address, backstage, asked, SPEED, prepare=prepare)
        return journeys, gateway, backstage

    return asyncio.run(together())


def test_every_attempt_is_reported_once_in_real_milliseconds(scene: Scene, workload: Make) -> None:
    fake = FakeSidecar(NAMES)
    journeys, _, backstage = run(scene, fake, workload(*[0.5 * number for number in range(24)]))
    assert len(fake.outcomes) == 24
    told = {outcome.decision_id: outcome for outcome in fake.outcomes}
    assert set(told) == {journey.decision_id for journey in journeys}
    for journey in journeys:
        outcome, call = told[journey.decision_id], journey.attempts[0]
        assert outcome.latency_ms == pytest.approx((call.done - call.sent) / SPEED * 1e3, abs=0.51)
        assert outcome.output_tokens == call.tokens
        assert outcome.quality == scene.questions.quality[journey.question, journey.answered_by]
        assert outcome.cost_usd == pytest.approx(scene.questions.cost_usd(journey.question, journey.answered_by))
        hosted = scene.fleet[journey.answered_by].hosted
        assert ("x-ratelimit-remaining-requests" in outcome.headers) == hosted
        assert (outcome.error, outcome.model) == (pb.OUTCOME_ERROR_UNSPECIFIED, "")
    assert sum(fake.in_flight.values()) == 0
    assert backstage.gateway is None


def test_an_attempt_that_failed_is_reported_beside_the_one_that_did_not(scene: Scene, workload: Make) -> None:
    fake = FakeSidecar(NAMES)
    journeys, *_ = run(scene, fake, workload(0.0), lambda gateway: gateway.servers[0].break_down(Fault.ERRORS))
    failed, answered = fake.outcomes
    assert failed.decision_id == answered.decision_id == journeys[0].decision_id
    assert (failed.error, failed.model, failed.HasField("latency_ms")) == (pb.OUTCOME_ERROR_SERVER, "", False)
    assert (answered.error, answered.model, answered.latency_ms) == (pb.OUTCOME_ERROR_UNSPECIFIED, "medium", 40)
    assert failed.key != answered.key


def test_who_sees_the_load_spreads_what_a_blind_one_piles_up(scene: Scene, workload: Make) -> None:
    asked = workload(*[0.25 * number for number in range(40)], questions=3)
    seen, gateway, _ = run(scene, FakeSidecar(NAMES), asked)
    # All to the first: 40 seconds of work for two slots come within 10 seconds.
    assert answers_s(seen).max() < 8
    assert all(server.counted.answered > 5 for server in gateway.servers)


def test_rate_limit_headers_can_be_switched_off(scene: Scene, workload: Make) -> None:
    fake = FakeSidecar(NAMES)
    silent = Scene(scene.fleet, scene.questions, scene.prior_quality, None, scene.cores, headers=False)
    run(silent, fake, workload(0.0, 0.0, 0.0))
    assert [dict(outcome.headers) for outcome in fake.outcomes] == [{}] * 3


def test_a_sidecar_that_hears_no_outcomes_is_told_no_more_of_them(scene: Scene, workload: Make) -> None:
    fake = FakeSidecar(NAMES, hears=False)
    journeys, *_ = run(scene, fake, workload(*[float(number) for number in range(6)]))
    assert len(journeys) == 6
    assert fake.outcomes == []


def test_a_refused_report_ends_the_run(scene: Scene, workload: Make) -> None:
    class Refusing(FakeSidecar):
        async def ReportOutcome(  # noqa: N802 - the contract's
            self, request: pb.ReportOutcomeRequest, context: object
        ) -> pb.ReportOutcomeResponse:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the disk is full")  # type: ignore[attr-defined]
            raise AssertionError

    with pytest.raises(grpc.aio.AioRpcError, match="the disk is full"):
        run(scene, Refusing(NAMES), workload(0.0, 1.0))


def test_a_decision_that_a_dying_worker_dropped_is_asked_for_again(scene: Scene, workload: Make) -> None:
    class Dying(FakeSidecar):
        async def Route(self, request: pb.RouteRequest, context: object) -> pb.RouteResponse:  # noqa: N802
            reply = await super().Route(request, context)
            if len(self.asked) == 1:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "this worker ends")  # type: ignore[attr-defined]
            return reply

    fake = Dying(NAMES)
    journeys, *_ = run(scene, fake, workload(0.0, 1.0))
    assert len(fake.asked) == 3
    assert all(journey.answered_by >= 0 for journey in journeys)


def test_candidates_without_a_recorded_answer_are_not_allowed(questions: Questions) -> None:
    made = [pb.RouteRequest.FromString(one) for one in payloads(questions, NAMES, policy(2e-4, SPEED))]
    assert [list(request.constraints.allow) for request in made] == [[], [], [], ["small", "medium"]]
    # A second of the sidecar is fifty virtual ones.
    assert made[0].policy.second_value_usd == pytest.approx(2e-4 * SPEED)
    assert made[0].prompt_tokens == 10


@pytest.mark.parametrize(
    ("end", "error"),
    [
        (End.SERVER, pb.OUTCOME_ERROR_SERVER),
        (End.TIMEOUT, pb.OUTCOME_ERROR_TIMEOUT),
        (End.RATE_LIMITED, pb.OUTCOME_ERROR_RATE_LIMITED),
    ],
)
async def test_every_kind_of_failure_has_its_name(end: End, error: int) -> None:
    call = Call(1.0, 1.0, lambda _call: None, sent=0.0, done=1.0, end=end, retry_after_s=2.0)
    journey = Journey(0, 0.0, decision_id="d", ranking=[0], attempts=[call])
    async with Sidecar("127.0.0.1:1") as sidecar:
        outcome = Reports(sidecar, NAMES, SPEED).outcome(journey, 0, call, {})
    assert (outcome.error, outcome.retry_after_ms) == (error, 40)


def test_the_ranking_is_that_of_the_reply(questions: Questions) -> None:
    async def decided() -> Sequence[int]:
        fake = FakeSidecar(["large", "small"])
        async with serving(fake) as address, Sidecar(address) as sidecar:
            journey = Journey(0, 0.0)
            ranking = await Routed(sidecar, payloads(questions, NAMES, policy(0.0, 1.0)), NAMES).decide(journey)
            assert journey.decision_id == f"{1:032x}"
            return ranking

    assert asyncio.run(decided()) == [2, 0]


def test_the_favourite_saturates_when_all_its_slots_are_busy(scene: Scene) -> None:
    # The second candidate answers 3 of 4 questions in 2 s each with 2 slots: 0.75 s of the server for each request.
    blind = saturation(scene, [[1], [1], [1], [0]])
    assert blind.favourite == 1
    assert blind.saturation_per_s == pytest.approx(4 / 3)
