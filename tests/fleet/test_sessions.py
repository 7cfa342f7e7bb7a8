import mmap
import multiprocessing
import multiprocessing.synchronize
import os
import secrets
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.errors import ConfigError
from sidecar.fleet.sessions import BUCKET, Remembered, SessionTable, create, digest


def entry(seen: float, tokens: float = 10.0) -> Remembered:
    return Remembered(digest("small"), tokens, 0.25, 1.5, seen, failed=False)


def test_what_one_worker_keeps_all_of_them_find(tmp_path: Path) -> None:
    create(tmp_path / "sessions", 2, 64)
    first, second = (SessionTable(tmp_path / "sessions", region) for region in (0, 1))
    first.keep("chat", entry(1.0))
    assert second.look("chat") == entry(1.0)
    assert second.look("other") is None


def test_any_worker_may_hear_that_a_turn_failed(tmp_path: Path) -> None:
    create(tmp_path / "sessions", 2, 64)
    first, second = (SessionTable(tmp_path / "sessions", region) for region in (0, 1))
    second.fail("chat", 2.0)
    assert first.look("chat") is None
    first.keep("chat", entry(1.0))
    second.fail("chat", 2.0)
    assert first.look("chat") == entry(2.0)._replace(failed=True)


def test_of_two_workers_the_later_one_is_right(tmp_path: Path) -> None:
    create(tmp_path / "sessions", 2, 64)
    first, second = (SessionTable(tmp_path / "sessions", region) for region in (0, 1))
    second.keep("chat", entry(2.0))
    first.keep("chat", entry(1.0))
    assert first.look("chat") == second.look("chat") == entry(2.0)


def test_sessions_outlive_the_worker(tmp_path: Path) -> None:
    create(tmp_path / "sessions", 1, 64)
    SessionTable(tmp_path / "sessions", 0).keep("chat", entry(1.0))
    assert SessionTable(tmp_path / "sessions", 0).look("chat") == entry(1.0)


def test_a_full_bucket_forgets_who_has_been_silent_longest(tmp_path: Path) -> None:
    create(tmp_path / "sessions", 1, BUCKET)
    table = SessionTable(tmp_path / "sessions", 0)
    for number in range(BUCKET):
        table.keep(f"chat {number}", entry(10.0 + number))
    table.keep("chat 0", entry(99.0))
    table.keep("one more", entry(50.0))
    known = [number for number in range(BUCKET) if table.look(f"chat {number}")]
    assert known == [0, 2, 3]
    assert table.look("one more") == entry(50.0)


def test_an_entry_that_is_half_written_is_not_there(tmp_path: Path) -> None:
    create(tmp_path / "sessions", 1, BUCKET)
    table = SessionTable(tmp_path / "sessions", 0)
    table.keep("chat", entry(1.0))
    with (tmp_path / "sessions").open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[memory.find(digest("small").to_bytes(8, "little")) + 8] ^= 1
    assert table.look("chat") is None


@pytest.mark.parametrize("content", [b"", b"x" * 200, b"RSSESS01" + bytes(192)])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "sessions").write_bytes(content)
    with pytest.raises(ConfigError, match="sessions: "):
        SessionTable(tmp_path / "sessions", 0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=40)
@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(1, 1e6)), max_size=60))
def test_a_table_that_is_large_enough_is_a_dictionary(tmp_path: Path, steps: list[tuple[str, float]]) -> None:
    path = tmp_path / secrets.token_hex(4)
    create(path, 1, 4096)
    table = SessionTable(path, 0)
    for session, tokens in steps:
        table.keep(session, entry(1.0, tokens))
    for session, tokens in dict(steps).items():
        found = table.look(session)
        assert found is not None
        assert found.tokens == tokens


def _hammer(path: Path, stop: "multiprocessing.synchronize.Event") -> None:
    table = SessionTable(path, 1)
    tokens = 0.0
    while not stop.is_set():
        tokens += 1.0
        table.keep("chat", Remembered(int(tokens), tokens, tokens, tokens, tokens))


def test_nobody_ever_reads_a_mixture_of_two_entries(tmp_path: Path) -> None:
    descriptor = create(tmp_path / "sessions", 2, BUCKET)
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    writer = context.Process(target=_hammer, args=(tmp_path / "sessions", stop))
    writer.start()
    try:
        table = SessionTable(tmp_path / "sessions", 0)
        seen: set[float] = set()
        while len(seen) < 200:
            found = table.look("chat")
            if found is not None:
                assert found == Remembered(int(found.tokens), *(4 * (found.tokens,)))
                seen.add(found.tokens)
    finally:
        stop.set()
        writer.join()
        os.close(descriptor)
