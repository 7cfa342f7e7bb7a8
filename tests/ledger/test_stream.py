import errno
import os
from pathlib import Path

import pytest

from sidecar.ledger.segments import HEAD, abandoned, segments
from sidecar.ledger.stream import MOST_AGE_S, Stream


def contents(folder: Path) -> list[bytes]:
    return [segment.path.read_bytes().removeprefix(HEAD) for segment in segments(folder)]


def test_nothing_is_made_until_there_is_something_to_write(tmp_path: Path) -> None:
    stream = Stream(tmp_path, "w", "outcomes", 100)
    stream.age(1e9)
    stream.end()
    assert segments(tmp_path) == []


def test_a_full_file_is_let_go_and_the_next_one_begun(tmp_path: Path) -> None:
    stream = Stream(tmp_path, "w", "outcomes", 50)
    for letter in (b"a", b"b", b"c"):
        stream.append(letter * 20, 0.0, durable=True)
    assert contents(tmp_path) == [b"a" * 20 + b"b" * 20, b"c" * 20]
    assert [abandoned(segment.path) for segment in segments(tmp_path)] == [True, False]


def test_an_old_file_is_let_go(tmp_path: Path) -> None:
    stream = Stream(tmp_path, "w", "outcomes", 1 << 20)
    stream.append(b"a", 10.0, durable=False)
    stream.age(10.0 + MOST_AGE_S - 1)
    assert not abandoned(segments(tmp_path)[0].path)
    stream.age(10.0 + MOST_AGE_S)
    assert abandoned(segments(tmp_path)[0].path)


def test_what_is_durable_is_synced_and_what_is_not_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    stream = Stream(tmp_path, "w", "outcomes", 1 << 20)
    stream.append(b"a", 0.0, durable=False)
    assert synced == []
    stream.append(b"b", 0.0, durable=True)
    assert len(synced) == 1


def test_after_a_write_that_failed_halfway_nothing_torn_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream(tmp_path, "w", "outcomes", 1 << 20)
    stream.append(b"first", 0.0, durable=True)
    write, calls = os.write, []

    def full(descriptor: int, data: bytes) -> int:
        calls.append(len(data))
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:3])

    with monkeypatch.context() as then:
        then.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            stream.append(b"second", 0.0, durable=True)
    assert len(calls) == 2
    stream.append(b"third", 0.0, durable=True)
    assert contents(tmp_path) == [b"first", b"third"]


def test_after_a_sync_that_failed_the_file_is_never_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(tmp_path, "w", "outcomes", 1 << 20)

    def broken(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as then:
        then.setattr(os, "fdatasync", broken)
        with pytest.raises(OSError, match="Input/output"):
            stream.append(b"lost", 0.0, durable=True)
    stream.append(b"kept", 0.0, durable=True)
    assert contents(tmp_path) == [b"", b"kept"]
