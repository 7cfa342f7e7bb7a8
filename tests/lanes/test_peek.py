from hypothesis import given
from hypothesis import strategies as st

from sidecar.lanes.peek import (
    MOST_STEPS,
    SEGMENT_BYTES,
    UNREAD,
    segment_of_batch,
    segment_of_route,
    segment_of_stream,
    sequence_of,
)
from sidecar.wire import router_pb2 as pb

TURN = pb.ChatMessage(role="user", content="words " * 40)


@given(st.text(), st.text(max_size=60), st.integers(0, MOST_STEPS - 2))
def test_the_segment_of_a_request_is_found_without_parsing_it(text: str, segment: str, turns: int) -> None:
    request = pb.RouteRequest(text=text, messages=[TURN] * turns, segment=segment, session_id="s", prompt_tokens=5)
    assert segment_of_route(request.SerializeToString()) == segment
    batch = pb.RouteBatchRequest(requests=[request, pb.RouteRequest(segment="other")])
    assert segment_of_batch(batch.SerializeToString()) == segment
    stream = pb.RouteStreamRequest(sequence=1 << 40, request=request)
    assert segment_of_stream(stream.SerializeToString()) == segment
    assert sequence_of(stream.SerializeToString()) == 1 << 40


def test_a_long_conversation_is_not_walked_to_its_end() -> None:
    request = pb.RouteRequest(messages=[TURN] * (MOST_STEPS + 1), segment="far")
    assert segment_of_route(request.SerializeToString()) == UNREAD


def test_a_long_segment_is_cut() -> None:
    request = pb.RouteRequest(text="x", segment="s" * 10_000)
    assert segment_of_route(request.SerializeToString()) == "s" * SEGMENT_BYTES


@given(st.binary(max_size=200))
def test_any_bytes_give_some_segment_and_some_sequence(raw: bytes) -> None:
    for peek in (segment_of_route, segment_of_batch, segment_of_stream):
        assert isinstance(peek(raw), str)
    assert sequence_of(raw) >= 0


def test_a_number_that_does_not_end_is_given_up() -> None:
    assert segment_of_route(b"\x0a" + b"\xff" * 1_000_000) == UNREAD
