"""Journals that end anywhere, or were changed anywhere."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from sidecar.ledger.frames import frame
from sidecar.ledger.segments import HEAD
from sidecar.ledger.tail import State, read, salvaged

PAYLOADS = st.lists(st.binary(max_size=60), min_size=1, max_size=5)


@contextmanager
def segment(content: bytes) -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "w-1-outcomes.journal"
        path.write_bytes(content)
        yield path


def frames_of(payloads: list[bytes]) -> list[bytes]:
    return [frame(2, [payload]) for payload in payloads]


@given(PAYLOADS, st.data())
def test_cut_off_anywhere_all_that_was_whole_is_read_and_the_rest_is_torn(
    payloads: list[bytes], data: st.DataObject
) -> None:
    frames = frames_of(payloads)
    whole = HEAD + b"".join(frames)
    cut = data.draw(st.integers(0, len(whole)))
    ends = [len(HEAD) + sum(map(len, frames[:count])) for count in range(len(frames) + 1)]
    with segment(whole[:cut]) as path:
        reading = read(path, 0)
    kept = sum(end <= cut for end in ends[1:])
    assert [bytes(each.payload) for each in reading.frames] == payloads[:kept]
    assert reading.state is (State.DONE if cut in ends else State.TORN)
    assert reading.rest == (cut - ends[kept] if cut >= len(HEAD) else cut)


@given(PAYLOADS, st.data())
def test_changed_anywhere_all_before_is_read_nothing_is_invented_and_nothing_behind_is_thrown_away(
    payloads: list[bytes], data: st.DataObject
) -> None:
    frames = frames_of(payloads)
    whole = bytearray(HEAD + b"".join(frames))
    at = data.draw(st.integers(len(HEAD), len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    before = next(count for count in range(len(frames)) if at < len(HEAD) + sum(map(len, frames[: count + 1])))
    with segment(bytes(whole)) as path:
        reading = read(path, 0)
    assert [bytes(each.payload) for each in reading.frames] == payloads[:before]
    # Of the last frame one cannot always tell whether it was changed or never finished: nothing lies behind it.
    if before < len(frames) - 1:
        assert reading.state is State.SPOILT
    else:
        assert reading.state in (State.SPOILT, State.TORN)


@given(st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=5), st.data())
def test_behind_a_frame_that_was_changed_the_others_are_salvaged_and_none_is_invented(
    payloads: list[bytes], data: st.DataObject
) -> None:
    frames = frames_of(payloads)
    whole = bytearray(HEAD + b"".join(frames))
    at = data.draw(st.integers(len(HEAD), len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    ends = [len(HEAD) + sum(map(len, frames[:count])) for count in range(len(frames) + 1)]
    before = next(count for count in range(len(frames)) if at < ends[count + 1])
    with segment(bytes(whole)) as path:
        found = [bytes(each.payload) for each in salvaged(path, ends[before])]
    if at >= ends[before] + 4:  # its length was left alone
        assert found == payloads[before + 1 :]
    else:
        assert found in [payloads[first:] for first in range(before + 1, len(payloads) + 1)]


def test_among_zeros_nothing_is_salvaged() -> None:
    with segment(HEAD + bytes(1 << 20) + b"".join(frames_of([b"x"]))) as path:
        assert salvaged(path, len(HEAD)) == []


@given(PAYLOADS, st.integers(1, 5000))
def test_zeros_behind_the_frames_as_after_a_power_failure_are_torn(payloads: list[bytes], zeros: int) -> None:
    with segment(HEAD + b"".join(frames_of(payloads)) + bytes(zeros)) as path:
        reading = read(path, 0)
    assert len(reading.frames) == len(payloads)
    assert (reading.state, reading.rest) == (State.TORN, zeros)


def test_what_a_living_writer_has_not_finished_is_waited_for() -> None:
    one, other = frames_of([b"a", b"bcd"])
    with segment(HEAD + one + other[:-2]) as path:
        with path.open("rb+") as writer:
            fcntl.flock(writer, fcntl.LOCK_EX)
            reading = read(path, 0)
            assert (len(reading.frames), reading.state, reading.rest) == (1, State.OPEN, len(other) - 2)
            writer.seek(0, 2)
            writer.write(other[-2:])
            writer.flush()
            reading = read(path, reading.position)
            assert ([bytes(each.payload) for each in reading.frames], reading.state) == ([b"bcd"], State.OPEN)
        assert read(path, reading.position)[1:] == (len(HEAD) + len(one) + len(other), State.DONE, 0)


def test_a_long_file_is_read_piece_by_piece_and_so_is_a_frame_longer_than_a_piece() -> None:
    payloads = [b"a" * 30, b"b" * 500, b"c", b"d" * 90]
    with segment(HEAD + b"".join(frames_of(payloads))) as path:
        found, position, state = [], 0, State.MORE
        while state is State.MORE:
            reading = read(path, position, 100)
            assert reading.frames
            found += [bytes(each.payload) for each in reading.frames]
            position, state = reading.position, reading.state
    assert (found, state) == (payloads, State.DONE)


def test_a_file_of_another_version_is_left_alone() -> None:
    with segment(HEAD.replace(b"\x01", b"\x02") + b"whatever") as path:
        assert read(path, 0).state is State.FOREIGN


def test_a_file_that_a_failed_sync_cut_back_is_done() -> None:
    with segment(HEAD) as path:
        assert read(path, 500)[1:] == (500, State.DONE, 0)
