"""Both lanes mean the same by Route: every test here runs on each of them, over a real connection."""

import threading
from concurrent import futures
from typing import Any

import grpc
import pytest

from sidecar.config import CandidateConfig, SegmentConfig
from sidecar.routing.policy import Policy
from sidecar.settings import CacheConfig
from sidecar.wire import router_pb2 as pb
from tests.lanes.asking import HARD, PLAIN, QUALITY, ROUTE, raw_route, refused, user
from tests.lanes.conftest import TRANSPORTS, Running, Start


def test_a_decision_ranks_the_candidates_and_names_what_scored_it(sidecar: Running) -> None:
    reply = sidecar.stub.Route(pb.RouteRequest(text=PLAIN, segment="docs"), timeout=10)
    assert reply.model == reply.ranking[0].model
    assert sorted(row.candidate for row in reply.ranking) == ["large", "medium", "small"]
    utilities = [row.utility_usd for row in reply.ranking]
    assert utilities == sorted(utilities, reverse=True)
    assert all(0 <= row.quality <= 1 and row.cost_usd > 0 for row in reply.ranking)
    assert next(iter(reply.reasons)) == pb.REASON_LEARNED
    assert (reply.propensity, reply.policy, reply.segment) == (1.0, "balanced", "docs")
    assert reply.bundle_name
    assert reply.bundle_version
    assert len(reply.decision_id) == 32
    assert reply.prompt_tokens == -(-len(PLAIN) // 4)
    assert reply.timings.batch_size == 1
    assert reply.timings.total_us >= reply.timings.tokenize_us + reply.timings.score_us > 0


def test_a_text_that_comes_again_is_marked_as_cached_and_decided_afresh(sidecar: Running) -> None:
    def route(value: float) -> Any:
        request = pb.RouteRequest(text=HARD, policy=pb.Policy(answer_value_usd=value))
        return sidecar.stub.Route(request, timeout=10)

    dear, cheap = route(1.0), route(1e-5)
    assert (dear.timings.cached, cheap.timings.cached) == (False, True)
    assert (dear.model, cheap.model) == ("large", "small")
    assert (dear.timings.score_us > 0, cheap.timings.score_us) == (True, 0)
    items = [pb.RouteRequest(text=text) for text in (HARD, PLAIN, PLAIN)]
    results = sidecar.stub.RouteBatch(pb.RouteBatchRequest(requests=items), timeout=10).results
    assert [result.response.timings.cached for result in results] == [True, False, True]
    stream = [pb.RouteStreamRequest(sequence=1, request=items[0])]
    (message,) = sidecar.stub.RouteStream(iter(stream), timeout=10)
    assert message.result.response.timings.cached
    info = sidecar.stub.Info(pb.InfoRequest(), timeout=10)
    counters = info.counters
    assert (counters.cache_hits, counters.cache_misses, counters.cache_evictions) == (4, 2, 0)
    assert 0 < counters.cache_bytes <= info.limits.cache_max_bytes == CacheConfig().max_bytes


def test_with_the_cache_off_nothing_is_marked(start: Start, transport: str) -> None:
    running = start(transport, cache=CacheConfig(max_bytes=0))
    assert not any(running.stub.Route(pb.RouteRequest(text=PLAIN), timeout=10).timings.cached for _ in range(2))
    info = running.stub.Info(pb.InfoRequest(), timeout=10)
    assert (info.counters.cache_hits, info.counters.cache_misses, info.limits.cache_max_bytes) == (0, 0, 0)
    assert info.counters.batches == 2


def test_what_is_asked_decides_who_answers(sidecar: Running) -> None:
    policy = pb.Policy(answer_value_usd=0.02)
    plain, hard = (sidecar.stub.Route(pb.RouteRequest(text=text, policy=policy), timeout=10) for text in (PLAIN, HARD))
    assert plain.model != "large"
    assert hard.model == "large"


def test_text_and_messages_with_the_same_words_get_the_same_decision(sidecar: Running) -> None:
    as_text = sidecar.stub.Route(pb.RouteRequest(text=HARD, policy=QUALITY), timeout=10)
    chat = [pb.ChatMessage(role="system", content="you are a helpful assistant"), user(HARD)]
    parts = [pb.ChatMessage(role="user", parts=[pb.ContentPart(text=HARD)])]
    for messages in (chat, parts):
        reply = sidecar.stub.Route(pb.RouteRequest(messages=messages, policy=QUALITY), timeout=10)
        assert [row.quality for row in reply.ranking] == [row.quality for row in as_text.ranking]


def test_a_megabyte_is_routed(sidecar: Running) -> None:
    text = "cook rice " * 105_000
    reply = sidecar.stub.Route(pb.RouteRequest(text=text), timeout=10)
    assert reply.prompt_tokens == len(text) // 4


def test_the_callers_token_count_and_answer_limit_enter_the_cost(sidecar: Running) -> None:
    few, many, capped = (
        sidecar.stub.Route(request, timeout=10)
        for request in (
            pb.RouteRequest(text=PLAIN, prompt_tokens=10),
            pb.RouteRequest(text=PLAIN, prompt_tokens=100_000),
            pb.RouteRequest(text=PLAIN, prompt_tokens=10, max_output_tokens=1),
        )
    )

    def cost_of_large(reply: pb.RouteResponse) -> float:
        return next(float(row.cost_usd) for row in reply.ranking if row.candidate == "large")

    assert cost_of_large(capped) < cost_of_large(few) < cost_of_large(many)


def test_constraints_narrow_the_ranking(sidecar: Running) -> None:
    request = pb.RouteRequest(text=HARD, policy=QUALITY, constraints=pb.Constraints(deny=["large"]))
    reply = sidecar.stub.Route(request, timeout=10)
    assert "large" not in {row.candidate for row in reply.ranking}
    assert pb.REASON_CONSTRAINT in reply.reasons
    allowed = pb.RouteRequest(text=HARD, constraints=pb.Constraints(allow=["small"]))
    assert [row.candidate for row in sidecar.stub.Route(allowed, timeout=10).ranking] == ["small"]


def test_aliases_policies_segments_and_capabilities_come_from_the_configuration(start: Start, transport: str) -> None:
    running = start(
        transport,
        candidates=(
            CandidateConfig(name="small", model="vendor/small-2", aliases=("mini",)),
            CandidateConfig(name="large", capabilities=("vision", "tools")),
        ),
        policies={"house": Policy(answer_value_usd=1.0)},
        segments={"acme": SegmentConfig(policy="house")},
        segment_keys=("metadata.tenant",),
    )
    route = running.stub.Route
    mini = route(pb.RouteRequest(text=PLAIN, constraints=pb.Constraints(allow=["mini"])), timeout=10)
    assert (mini.model, mini.ranking[0].candidate) == ("vendor/small-2", "small")
    acme = route(pb.RouteRequest(text=PLAIN, metadata={"tenant": "acme"}), timeout=10)
    assert (acme.segment, acme.policy) == ("acme", "house")
    image = pb.ChatMessage(role="user", parts=[pb.ContentPart(text=PLAIN), pb.ContentPart(image_url="data:,")])
    for request in (pb.RouteRequest(messages=[image]), pb.RouteRequest(text=PLAIN, tools=["search"])):
        assert [row.candidate for row in route(request, timeout=10).ranking] == ["large"]
    assert {row.candidate for row in route(pb.RouteRequest(text=PLAIN), timeout=10).ranking} == {"small", "large"}


def test_a_ranking_is_as_short_as_asked_and_the_decision_the_same(sidecar: Running) -> None:
    whole = sidecar.stub.Route(pb.RouteRequest(text=HARD, policy=QUALITY), timeout=10)
    for limit in (1, 2, 3, 2**32 - 1):
        reply = sidecar.stub.Route(pb.RouteRequest(text=HARD, policy=QUALITY, ranking_limit=limit), timeout=10)
        assert list(reply.ranking) == list(whole.ranking)[:limit]
        assert (reply.model, reply.reasons, reply.propensity) == (whole.model, whole.reasons, whole.propensity)


NOT_NUMBERS = pb.Policy(answer_value_usd=float("nan"))
BAD_REQUESTS = {
    "neither": (pb.RouteRequest(), "text and messages are both empty"),
    "both": (pb.RouteRequest(text="a", messages=[user("b")]), "text and messages are both set"),
    "blank text": (pb.RouteRequest(text=" \n\t "), "text"),
    "blank messages": (pb.RouteRequest(messages=[user("  ")]), "messages"),
    "no user turn": (pb.RouteRequest(messages=[pb.ChatMessage(role="system", content="be kind")]), "messages"),
    "unknown role": (pb.RouteRequest(messages=[pb.ChatMessage(role="robot", content="x")]), r"messages[0].role"),
    "content and parts": (
        pb.RouteRequest(messages=[pb.ChatMessage(role="user", content="x", parts=[pb.ContentPart(text="y")])]),
        "messages[0]: content and parts",
    ),
    "empty part": (
        pb.RouteRequest(messages=[pb.ChatMessage(role="user", parts=[pb.ContentPart()])]),
        "messages[0].parts[0] is empty",
    ),
    "unknown policy": (pb.RouteRequest(text="a", policy_name="none"), "policy_name: no policy is called 'none'"),
    "unknown candidate": (
        pb.RouteRequest(text="a", constraints=pb.Constraints(deny=["gpt-9"])),
        "constraints.deny: no candidate is called 'gpt-9'; known are small, medium, large",
    ),
    "NaN value": (pb.RouteRequest(text="a", policy=NOT_NUMBERS), "policy.answer_value_usd is nan"),
    "negative value": (pb.RouteRequest(text="a", policy=pb.Policy(answer_value_usd=-1)), "policy.answer_value_usd"),
    "quality left out": (pb.RouteRequest(text="a", policy=pb.Policy(second_value_usd=1)), "leaves quality out"),
    "floor over 1": (
        pb.RouteRequest(text="a", constraints=pb.Constraints(min_quality=1.5)),
        "constraints.min_quality is 1.5",
    ),
    "no answer": (pb.RouteRequest(text="a", max_output_tokens=0), "max_output_tokens is 0"),
    "no ranking": (pb.RouteRequest(text="a", ranking_limit=0), "ranking_limit is 0"),
    "long segment": (pb.RouteRequest(text="a", segment="s" * 300), "segment: 300 characters"),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_bad_input_is_an_invalid_argument_that_names_the_field(sidecar: Running, name: str) -> None:
    request, words = BAD_REQUESTS[name]
    code, details = refused(sidecar.stub.Route, request)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert words in details


@pytest.mark.parametrize(
    ("constraints", "words"),
    [
        (pb.Constraints(allow=["small"], deny=["small"]), "constraints: no candidate"),
        (pb.Constraints(capabilities=["telepathy"]), "constraints: no candidate"),
        (pb.Constraints(min_quality=1.0), "min_quality: no admissible candidate"),
        (pb.Constraints(max_cost_usd=0.0), "max_cost_usd: no admissible candidate"),
        (pb.Constraints(max_latency_ms=1), "max_latency_ms: no admissible candidate"),
    ],
)
def test_constraints_that_leave_nobody_are_a_failed_precondition(
    sidecar: Running, constraints: pb.Constraints, words: str
) -> None:
    code, details = refused(sidecar.stub.Route, pb.RouteRequest(text=PLAIN, constraints=constraints))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert words in details


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"\x0a\x02\xff\xfe", "text is not UTF-8"),
        (
            pb.RouteRequest(messages=[user("q"), user("abc")]).SerializeToString()[:-3] + b"\xff\xff\xff",
            "messages[1].content",
        ),
        (b"\x0a\x7f", "cut off"),
        (b"\xff" * 11, "cut off"),
    ],
)
def test_bytes_that_are_no_request_are_an_invalid_argument(sidecar: Running, raw: bytes, words: str) -> None:
    code, details = refused(raw_route(sidecar), raw)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert words in details


def test_no_error_repeats_the_prompt(sidecar: Running) -> None:
    words = "confidential merger"
    request = pb.RouteRequest(messages=[user(words)], text=words)
    assert words not in refused(sidecar.stub.Route, request)[1]


def test_a_message_over_the_limit_is_resource_exhausted(start: Start, transport: str) -> None:
    running = start(transport, max_message_bytes=4096)
    assert refused(running.stub.Route, pb.RouteRequest(text="a" * 5000))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert running.stub.Route(pb.RouteRequest(text=PLAIN), timeout=10).model


def test_a_method_that_does_not_exist_is_unimplemented(sidecar: Running) -> None:
    method: Any = sidecar.channel.unary_unary("/router.v1.RouterService/Guess")
    assert refused(method, b"")[0] is grpc.StatusCode.UNIMPLEMENTED


def test_a_call_without_a_message_ends_in_an_error_and_harms_nobody_else(sidecar: Running, transport: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        sidecar.channel.stream_unary(ROUTE)(iter(()), timeout=1)
    # grpc.aio gives such a call no answer of its own; the deadline ends it.
    expected = {"http2": grpc.StatusCode.UNIMPLEMENTED, "grpcio": grpc.StatusCode.DEADLINE_EXCEEDED}
    assert caught.value.code() is expected[transport]
    assert sidecar.stub.Route(pb.RouteRequest(text=PLAIN), timeout=10).model


def test_a_callers_metadata_is_no_hindrance(sidecar: Running) -> None:
    metadata = (("x-request-id", "7"), ("trace-bin", b"\x00\xff"))
    assert sidecar.stub.Route(pb.RouteRequest(text=PLAIN), timeout=10, metadata=metadata).model


def test_compressed_requests_are_read(sidecar: Running) -> None:
    reply = sidecar.stub.Route(pb.RouteRequest(text=PLAIN * 50), timeout=10, compression=grpc.Compression.Gzip)
    assert reply.model


def test_an_expired_deadline_is_exceeded_and_harms_nobody_else(sidecar: Running) -> None:
    router = sidecar.server.services.engine._router
    score, may_go_on = router._score, threading.Event()
    assert score is not None
    router._score = lambda texts: score(texts) if may_go_on.wait(30) else score(())
    with pytest.raises(grpc.RpcError) as caught:
        sidecar.stub.Route(pb.RouteRequest(text=PLAIN), timeout=0.05)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    may_go_on.set()
    assert pb.REASON_LEARNED in sidecar.stub.Route(pb.RouteRequest(text=PLAIN), timeout=10).reasons


def test_cancelled_calls_harm_nobody_else(sidecar: Running) -> None:
    calls = [sidecar.stub.Route.future(pb.RouteRequest(text=PLAIN), timeout=10) for _ in range(50)]
    for call in calls[::2]:
        call.cancel()
    assert all(call.result().model for call in calls[1::2])


def test_each_of_many_simultaneous_callers_gets_its_own_answer(sidecar: Running) -> None:
    def ask(number: int) -> bool:
        segment = f"segment-{number}"
        reply = sidecar.stub.Route(pb.RouteRequest(text=(PLAIN, HARD)[number % 2], segment=segment), timeout=30)
        quality = {row.candidate: row.quality for row in reply.ranking}
        return bool(reply.segment == segment and (quality["small"] < 0.5) == (number % 2 == 1))

    with futures.ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(400)))


def test_the_two_lanes_answer_the_same_but_for_ids_and_timings(start: Start) -> None:
    def answers(transport: str) -> list[pb.RouteResponse]:
        stub = start(transport).stub
        replies = [stub.Route(pb.RouteRequest(text=text, policy=QUALITY), timeout=10) for text in (PLAIN, HARD, "x")]
        for reply in replies:
            reply.ClearField("decision_id")
            reply.ClearField("timings")
        return replies

    first, second = map(answers, TRANSPORTS)
    assert first == second
