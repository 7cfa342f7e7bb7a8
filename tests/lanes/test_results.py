from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import NoCandidate, TooLarge
from sidecar.lanes.lane import Encoded
from sidecar.lanes.results import BatchResult, stream_response
from sidecar.wire import router_pb2 as pb

REPLY = pb.RouteResponse(model="small", segment="docs")


@given(st.permutations(range(5)))
def test_results_stand_in_the_order_of_the_requests_whichever_comes_first(order: list[int]) -> None:
    delivered: list[tuple[Any, Encoded]] = []
    result = BatchResult(5, lambda key, encoded: delivered.append((key, encoded)), "the call")
    for index in order:
        assert delivered == []
        result.put(index, pb.RouteResponse(model=str(index)).SerializeToString())
    ((key, encoded),) = delivered
    assert key == "the call"
    assert isinstance(encoded, bytes)
    results = pb.RouteBatchResponse.FromString(encoded).results
    assert [one.response.model for one in results] == list("01234")


def test_an_error_among_results_has_its_status_and_its_words_and_costs_the_others_nothing() -> None:
    delivered: list[Encoded] = []
    result = BatchResult(2, lambda _key, encoded: delivered.append(encoded), None)
    result.put(0, NoCandidate("nobody is left."))
    result.put(1, REPLY.SerializeToString())
    assert isinstance(delivered[0], bytes)
    error, reply = pb.RouteBatchResponse.FromString(delivered[0]).results
    assert (error.error.code, error.error.message) == (9, "nobody is left.")
    assert reply.response == REPLY


def test_a_streams_answer_carries_the_number_of_its_request_whether_reply_or_error() -> None:
    reply = pb.RouteStreamResponse.FromString(stream_response(7, REPLY.SerializeToString()))
    assert (reply.sequence, reply.result.response) == (7, REPLY)
    error = pb.RouteStreamResponse.FromString(stream_response(8, TooLarge("too much.")))
    assert (error.sequence, error.result.error.code, error.result.error.message) == (8, 8, "too much.")
