"""Both lanes mean the same by RouteBatch and RouteStream: every test here runs on each of them."""

import threading
from collections.abc import Iterator
from typing import Any

import grpc

from sidecar.wire import router_pb2 as pb
from tests.lanes.asking import HARD, PLAIN, refused
from tests.lanes.conftest import Running, Start

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


def test_items_and_messages_have_ranking_limits_of_their_own(sidecar: Running) -> None:
    requests = [
        pb.RouteRequest(text=HARD),
        pb.RouteRequest(text=HARD, ranking_limit=1),
        pb.RouteRequest(text=HARD, ranking_limit=0),
        pb.RouteRequest(text=PLAIN, ranking_limit=2),
    ]
    batch = sidecar.stub.RouteBatch(pb.RouteBatchRequest(requests=requests), timeout=10).results
    stream = sidecar.stub.RouteStream(
        iter([pb.RouteStreamRequest(request=request) for request in requests]), timeout=10
    )
    for results in (batch, [message.result for message in stream]):
        assert [len(result.response.ranking) for result in results] == [3, 1, 0, 2]
        assert results[2].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
        assert results[2].error.message.startswith("ranking_limit is 0")
        assert results[1].response.ranking[0] == results[0].response.ranking[0]


def test_a_batch_larger_than_one_run_of_the_model_is_answered_whole(start: Start, transport: str) -> None:
    running = start(transport, max_score_batch=4)
    requests = [pb.RouteRequest(text=PLAIN, segment=str(number)) for number in range(50)]
    results = running.stub.RouteBatch(pb.RouteBatchRequest(requests=requests), timeout=10).results
    assert [result.response.segment for result in results] == [str(number) for number in range(50)]
    assert max(result.response.timings.batch_size for result in results) == 4


def test_an_empty_batch_and_one_over_the_limit_are_refused(start: Start, transport: str) -> None:
    running = start(transport, max_batch_items=2)
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
