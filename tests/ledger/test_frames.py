from hypothesis import given
from hypothesis import strategies as st

from sidecar.ledger.frames import HEAD_BYTES, MOST_BYTES, announced, frame, scan

PAYLOADS = st.lists(st.binary(max_size=40), min_size=1, max_size=6)


def payloads(data: bytes) -> list[bytes]:
    return [bytes(each.payload) for each in scan(memoryview(data))]


@given(PAYLOADS)
def test_frames_come_back_with_their_ends(written: list[bytes]) -> None:
    data = b"".join(frame(kind % 3 + 1, [payload]) for kind, payload in enumerate(written))
    found = list(scan(memoryview(data), 100))
    assert [bytes(each.payload) for each in found] == written
    assert [each.kind for each in found] == [kind % 3 + 1 for kind in range(len(written))]
    assert found[-1].end == 100 + len(data)


@given(PAYLOADS, st.data())
def test_cut_off_anywhere_all_that_is_whole_is_read_and_no_more(written: list[bytes], data: st.DataObject) -> None:
    frames = [frame(1, [payload]) for payload in written]
    whole = b"".join(frames)
    cut = data.draw(st.integers(0, len(whole)))
    ends = [sum(map(len, frames[: index + 1])) for index in range(len(frames))]
    assert payloads(whole[:cut]) == written[: sum(end <= cut for end in ends)]


@given(PAYLOADS, st.data())
def test_whatever_byte_is_changed_all_before_is_read_and_nothing_is_invented(
    written: list[bytes], data: st.DataObject
) -> None:
    frames = [frame(1, [payload]) for payload in written]
    whole = bytearray(b"".join(frames))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    before = next(index for index in range(len(frames)) if at < sum(map(len, frames[: index + 1])))
    assert payloads(bytes(whole)) == written[:before]


def test_zeros_are_no_frame() -> None:
    assert payloads(bytes(4096)) == []
    assert payloads(frame(2, [b"x"]) + bytes(4096)) == [b"x"]


def test_a_frame_says_how_long_it_is_unless_it_cannot_be_one() -> None:
    whole = frame(1, [b"ab", b"cde"])
    assert announced(memoryview(whole)) == len(whole) == HEAD_BYTES + 5
    assert announced(memoryview(whole[: HEAD_BYTES - 1])) == 0
    assert announced(memoryview((MOST_BYTES + 1).to_bytes(4) + bytes(5))) == 0
