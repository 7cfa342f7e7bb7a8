"""Both lanes mean the same: every test here runs on each of them, over a real connection."""

import contextlib
import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from sidecar.config import CandidateConfig, SegmentConfig
from sidecar.errors import ConfigError
from sidecar.lanes.places import MOST_REFLECTIONS
from sidecar.routing.policy import Policy
from sidecar.settings import CacheConfig
from sidecar.wire import router_pb2 as pb
from tests.lanes.conftest import LANES, Running, Start

PLAIN = "what is the capital of a small country"
HARD = "prove the theorem about the manifold"
QUALITY = pb.Policy(answer_value_usd=1.0)
ROUTE = "/router.v1.RouterService/Route"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def refused(call: Any, request: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=10)
    return caught.value.code(), caught.value.details() or ""


def raw_route(running: Running) -> Any:
    return running.channel.unary_unary(ROUTE)


def user(content: str) -> pb.ChatMessage:
    return pb.ChatMessage(role="user", content=content)


def health_of(running: Running, name: str) -> int:
    stub = health_pb2_grpc.HealthStub(running.channel)
    return int(stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10).status)


# --- Route -----------------------------------------------------------------------------------------------------------


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


def test_with_the_cache_off_nothing_is_marked(start: Start, lane: str) -> None:
    running = start(lane, cache=CacheConfig(max_bytes=0))
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


def test_aliases_policies_segments_and_capabilities_come_from_the_configuration(start: Start, lane: str) -> None:
    running = start(
        lane,
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


def test_a_message_over_the_limit_is_resource_exhausted(start: Start, lane: str) -> None:
    running = start(lane, max_message_bytes=4096)
    assert refused(running.stub.Route, pb.RouteRequest(text="a" * 5000))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert running.stub.Route(pb.RouteRequest(text=PLAIN), timeout=10).model


def test_a_method_that_does_not_exist_is_unimplemented(sidecar: Running) -> None:
    method: Any = sidecar.channel.unary_unary("/router.v1.RouterService/Guess")
    assert refused(method, b"")[0] is grpc.StatusCode.UNIMPLEMENTED


def test_a_call_without_a_message_ends_in_an_error_and_harms_nobody_else(sidecar: Running, lane: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        sidecar.channel.stream_unary(ROUTE)(iter(()), timeout=1)
    # grpc.aio gives such a call no answer of its own; the deadline ends it.
    expected = {"fast": grpc.StatusCode.UNIMPLEMENTED, "portable": grpc.StatusCode.DEADLINE_EXCEEDED}
    assert caught.value.code() is expected[lane]
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


# --- RouteBatch ------------------------------------------------------------------------------------------------------


def test_a_batch_answers_in_order_and_a_bad_item_harms_no_other(sidecar: Running) -> None:
    requests = [
        pb.RouteRequest(text=PLAIN, segment="first"),
        pb.RouteRequest(text=" "),
        pb.RouteRequest(text=HARD, constraints=pb.Constraints(min_quality=1.0)),
        pb.RouteRequest(text=HARD, segment="last"),
    ]
    results = sidecar.stub.RouteBatch(pb.RouteBatchRequest(requests=requests), timeout=10).results
    assert [result.WhichOneof("result") for result in results] == ["response", "error", "error", "response"]
    assert (results[0].response.segment, results[3].response.segment) == ("first", "last")
    assert results[1].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert results[2].error.code == grpc.StatusCode.FAILED_PRECONDITION.value[0]


def test_a_batch_larger_than_one_run_of_the_model_is_answered_whole(start: Start, lane: str) -> None:
    running = start(lane, max_score_batch=4)
    requests = [pb.RouteRequest(text=PLAIN, segment=str(number)) for number in range(50)]
    results = running.stub.RouteBatch(pb.RouteBatchRequest(requests=requests), timeout=10).results
    assert [result.response.segment for result in results] == [str(number) for number in range(50)]
    assert max(result.response.timings.batch_size for result in results) == 4


def test_an_empty_batch_and_one_over_the_limit_are_refused(start: Start, lane: str) -> None:
    running = start(lane, max_batch_items=2)
    assert refused(running.stub.RouteBatch, pb.RouteBatchRequest())[0] is grpc.StatusCode.INVALID_ARGUMENT
    three = pb.RouteBatchRequest(requests=[pb.RouteRequest(text=PLAIN)] * 3)
    code, details = refused(running.stub.RouteBatch, three)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "at most 2" in details


# --- RouteStream -----------------------------------------------------------------------------------------------------


def test_a_stream_answers_in_order_with_errors_in_their_place(sidecar: Running) -> None:
    texts = [PLAIN, "", HARD, " ", PLAIN]
    requests = [
        pb.RouteStreamRequest(sequence=10 + number, request=pb.RouteRequest(text=text))
        for number, text in enumerate(texts)
    ]
    replies = list(sidecar.stub.RouteStream(iter(requests), timeout=10))
    assert [reply.sequence for reply in replies] == [10, 11, 12, 13, 14]
    kinds = [reply.result.WhichOneof("result") for reply in replies]
    assert kinds == ["response", "error", "response", "error", "response"]


def test_a_stream_that_is_not_read_until_it_is_written_loses_nothing(sidecar: Running) -> None:
    amount = 1500
    requests = (pb.RouteStreamRequest(sequence=number, request=pb.RouteRequest(text=PLAIN)) for number in range(amount))
    replies = list(sidecar.stub.RouteStream(requests, timeout=60))
    assert [reply.sequence for reply in replies] == list(range(amount))


def test_a_stream_without_messages_ends_well(sidecar: Running) -> None:
    assert list(sidecar.stub.RouteStream(iter(()), timeout=10)) == []


def test_malformed_bytes_in_a_stream_get_an_error_and_the_stream_lives(sidecar: Running) -> None:
    good = pb.RouteStreamRequest(sequence=2, request=pb.RouteRequest(text=PLAIN)).SerializeToString()
    stream: Any = sidecar.channel.stream_stream("/router.v1.RouterService/RouteStream")
    replies = [pb.RouteStreamResponse.FromString(raw) for raw in stream(iter([b"\xff\xff", good]), timeout=10)]
    assert [reply.result.WhichOneof("result") for reply in replies] == ["error", "response"]


def test_a_cancelled_stream_harms_nobody_else(sidecar: Running) -> None:
    hold = threading.Event()

    def requests() -> Iterator[pb.RouteStreamRequest]:
        yield pb.RouteStreamRequest(sequence=1, request=pb.RouteRequest(text=PLAIN))
        hold.wait(10)

    stream = sidecar.stub.RouteStream(requests(), timeout=30)
    assert next(stream).sequence == 1
    stream.cancel()
    hold.set()
    assert sidecar.stub.Route(pb.RouteRequest(text=PLAIN), timeout=10).model


# --- Info, health, reflection ----------------------------------------------------------------------------------------


def test_info_says_what_runs_and_counts_what_was_served(sidecar: Running, lane: str) -> None:
    sidecar.stub.Route(pb.RouteRequest(text=PLAIN), timeout=10)
    refused(sidecar.stub.Route, pb.RouteRequest())
    info = sidecar.stub.Info(pb.InfoRequest(), timeout=10)
    assert (info.lane, info.execution_provider, info.degraded) == (lane, "CPUExecutionProvider", "")
    assert len(info.bundle.manifest_sha256) == 64
    assert [row.name for row in info.candidates] == ["small", "medium", "large"]
    assert set(info.policies) == {"thrifty", "balanced", "quality"}
    assert info.limits.max_message_bytes == 8 << 20
    assert info.limits.max_scored_chars > 0
    assert (info.counters.decisions, info.counters.invalid, info.counters.degraded) == (1, 1, 0)


@pytest.mark.parametrize("name", ["", "router.v1.RouterService", "liveness", "readiness", "scoring"])
def test_every_health_name_is_serving(sidecar: Running, name: str) -> None:
    assert health_of(sidecar, name) == SERVING


def test_an_unknown_health_name_is_not_found(sidecar: Running) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        health_of(sidecar, "weather")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_lists_the_services_under_both_names(sidecar: Running, version: str) -> None:
    method: Any = sidecar.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    (reply,) = method(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=10)
    names = {service.name for service in reply.list_services_response.service}
    assert names >= {"router.v1.RouterService", "grpc.health.v1.Health"}


def test_idle_reflection_streams_do_not_keep_others_waiting(sidecar: Running, lane: str) -> None:
    method: Any = sidecar.channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
    done = threading.Event()

    def idle() -> Iterator[bytes]:
        yield reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
        done.wait(60)

    streams = [method(idle(), timeout=5) for _ in range(8)]
    answered = 0
    for stream in streams:
        with contextlib.suppress(grpc.RpcError):
            next(stream)
            answered += 1
    # On the fast lane each holds a thread, and the rest is told so; on the portable lane they hold nothing.
    assert answered == (MOST_REFLECTIONS if lane == "fast" else len(streams))
    assert health_of(sidecar, "") == SERVING
    assert sidecar.stub.Info(pb.InfoRequest(), timeout=10).version
    done.set()


def test_every_call_of_a_flood_gets_its_own_status_and_the_good_one_its_answer(sidecar: Running) -> None:
    bad = [sidecar.stub.Route.future(pb.RouteRequest(), timeout=30) for _ in range(600)]
    good = sidecar.stub.Route.future(pb.RouteRequest(text=PLAIN), timeout=30)
    assert good.result().model
    assert {call.code() for call in bad} == {grpc.StatusCode.INVALID_ARGUMENT}


# --- faults and shutdown ---------------------------------------------------------------------------------------------


def test_without_a_usable_bundle_the_safe_candidate_answers_and_health_says_so(
    start: Start, lane: str, tmp_path: Path
) -> None:
    running = start(
        lane,
        bundle=str(tmp_path / "missing"),
        candidates=(CandidateConfig(name="cheap"), CandidateConfig(name="sure", model="vendor/sure")),
        safe_candidate="sure",
    )
    reply = running.stub.Route(pb.RouteRequest(text=PLAIN), timeout=10)
    assert reply.model == "vendor/sure"
    assert list(reply.reasons) == [pb.REASON_DEGRADED]
    assert (reply.bundle_name, reply.bundle_version) == ("", "")
    assert health_of(running, "scoring") == NOT_SERVING
    assert health_of(running, "readiness") == SERVING
    assert "missing" in running.stub.Info(pb.InfoRequest(), timeout=10).degraded


def test_a_scoring_fault_degrades_and_recovers(sidecar: Running) -> None:
    ill = sidecar.stub.Route(pb.RouteRequest(text="poison"), timeout=10)
    assert list(ill.reasons) == [pb.REASON_DEGRADED]
    assert ill.model == "large"
    assert sidecar.stub.Info(pb.InfoRequest(), timeout=10).degraded
    well = sidecar.stub.Route(pb.RouteRequest(text=PLAIN), timeout=10)
    assert pb.REASON_LEARNED in well.reasons
    assert sidecar.stub.Info(pb.InfoRequest(), timeout=10).degraded == ""


def test_draining_says_not_serving_lets_open_calls_end_and_closes(sidecar: Running) -> None:
    watch = health_pb2_grpc.HealthStub(sidecar.channel).Watch(
        health_pb2.HealthCheckRequest(service="readiness"), timeout=30
    )
    assert next(watch).status == SERVING
    may_go_on = threading.Event()

    def requests() -> Iterator[pb.RouteStreamRequest]:
        yield pb.RouteStreamRequest(sequence=1, request=pb.RouteRequest(text=PLAIN))
        may_go_on.wait(20)
        yield pb.RouteStreamRequest(sequence=2, request=pb.RouteRequest(text=HARD))

    stream = sidecar.stub.RouteStream(requests(), timeout=30)
    assert next(stream).sequence == 1
    draining = threading.Thread(target=sidecar.drain)
    draining.start()
    assert next(watch).status == NOT_SERVING
    watch.cancel()
    may_go_on.set()
    assert [reply.sequence for reply in stream] == [2]
    draining.join(20)
    assert not draining.is_alive()
    code, _ = refused(sidecar.stub.Route, pb.RouteRequest(text=PLAIN))
    assert code is grpc.StatusCode.UNAVAILABLE


def test_a_taken_port_is_a_clear_error(start: Start, lane: str, sidecar: Running) -> None:
    with pytest.raises(ConfigError, match="listen: cannot bind"):
        start(lane, listen=sidecar.address)


def test_the_two_lanes_answer_the_same_but_for_ids_and_timings(start: Start) -> None:
    def answers(lane: str) -> list[pb.RouteResponse]:
        stub = start(lane).stub
        replies = [stub.Route(pb.RouteRequest(text=text, policy=QUALITY), timeout=10) for text in (PLAIN, HARD, "x")]
        for reply in replies:
            reply.ClearField("decision_id")
            reply.ClearField("timings")
        return replies

    first, second = map(answers, LANES)
    assert first == second
