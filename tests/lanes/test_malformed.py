from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import InvalidRequest
from sidecar.lanes.malformed import explain, parsed
from sidecar.wire import router_pb2 as pb

REQUEST: Any = pb.RouteRequest.DESCRIPTOR
# The text that the tests below break, three bytes long.
MARK = "abc"


def broken(request: pb.RouteRequest) -> bytes:
    return request.SerializeToString().replace(MARK.encode(), b"\xff\xfe\xfd")


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.RouteRequest(text=MARK), "text"),
        (pb.RouteRequest(text="fine", segment=MARK), "segment"),
        (pb.RouteRequest(prompt_tokens=300, policy_name=MARK), "policy_name"),
        (pb.RouteRequest(policy=pb.Policy(answer_value_usd=1.0), tools=["ok", MARK]), r"tools\[1\]"),
        (
            pb.RouteRequest(messages=[pb.ChatMessage(role="user", parts=[pb.ContentPart(text=MARK)])]),
            r"messages\[0\]\.parts\[0\]\.text",
        ),
        (pb.RouteRequest(metadata={"tenant": MARK}), r"metadata\[0\]\.value"),
    ],
)
def test_the_field_that_is_not_utf8_is_named(request_: pb.RouteRequest, field: str) -> None:
    raw = broken(request_)
    with pytest.raises(DecodeError):
        pb.RouteRequest.FromString(raw)
    with pytest.raises(InvalidRequest, match=rf"^{field} is not UTF-8"):
        raise explain(raw, REQUEST)


@given(st.binary(max_size=200))
def test_any_bytes_get_an_explanation(data: bytes) -> None:
    assert isinstance(explain(data, REQUEST), InvalidRequest)


@given(st.integers(1, 60))
def test_a_message_that_is_cut_off_is_told_so_or_was_sound(kept: int) -> None:
    whole = pb.RouteRequest(messages=[pb.ChatMessage(role="user", content="x" * 50)]).SerializeToString()
    assert "cut off" in str(explain(whole[:kept], REQUEST))


def test_a_sound_message_is_read_and_another_is_refused_with_the_explanation() -> None:
    sound = pb.RouteRequest(text=MARK)
    assert parsed(pb.RouteRequest, sound.SerializeToString()) == sound
    with pytest.raises(InvalidRequest, match=r"^text is not UTF-8"):
        parsed(pb.RouteRequest, broken(sound))
