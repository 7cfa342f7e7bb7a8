import errno
import logging
import os
import threading
from pathlib import Path

import pytest

from sidecar.errors import ConfigError, InvalidRequest, Unavailable
from sidecar.ledger import journal as module
from sidecar.ledger.journal import Journal
from sidecar.ledger.noted import Recorder
from sidecar.ledger.outcome import Outcome
from sidecar.ledger.records import DecisionBatch, Drops, Record, decode
from sidecar.ledger.segments import segments
from sidecar.ledger.settings import LedgerConfig
from sidecar.ledger.tail import read
from tests.ledger.made import NOW, Acknowledged, acknowledge, config_in, journal_of, name, noted, said, wait_until


def written(config: LedgerConfig) -> list[Record]:
    found = segments(Path(config.directory) / "journal")
    return [decode(frame) for segment in found for frame in read(segment.path, 0).frames]


def outcomes(config: LedgerConfig) -> list[Outcome]:
    return [outcome for record in written(config) if isinstance(record, list) for outcome in record]


def test_an_outcome_is_on_the_disk_when_it_is_acknowledged(
    embedded: LedgerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    sync = os.fdatasync

    def counted(file: int) -> None:
        sync(file)
        synced.append(file)

    monkeypatch.setattr(os, "fdatasync", counted)
    journal = journal_of(embedded)
    seen: list[tuple[object, int]] = []
    one = said(name(), quality=1.0)
    journal.submit(one, lambda answer: seen.append((answer, len(synced))))
    wait_until(lambda: bool(seen))
    assert seen == [(None, 1)]
    assert outcomes(embedded) == [one]
    journal.close()


def test_outcomes_that_come_during_a_sync_share_the_next(
    embedded: LedgerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncing, go_on = threading.Event(), threading.Event()

    def slow(_: int) -> None:
        syncing.set()
        go_on.wait(20)

    monkeypatch.setattr(os, "fdatasync", slow)
    journal = journal_of(embedded)
    done = Acknowledged()
    journal.submit(said(name(), quality=0.0), done)
    assert syncing.wait(20)
    for _ in range(200):
        journal.submit(said(name(), quality=1.0), done)
    assert (done.answers, journal.counts().waiting) == ([], 200)
    go_on.set()
    assert done.wait(201) == [None] * 201
    journal.close()
    assert (journal.counts().syncs, journal.counts().acknowledged) == (2, 201)
    assert len(outcomes(embedded)) == 201


def test_a_group_is_bounded(embedded: LedgerConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_GROUP", 10)
    journal = Journal(embedded, Recorder(None))
    done = Acknowledged()
    for _ in range(25):
        journal.submit(said(name(), quality=1.0), done)
    journal.start()
    done.wait(25)
    journal.close()
    assert [len(record) for record in written(embedded) if isinstance(record, list)] == [10, 10, 5]


def test_many_threads_are_acknowledged_each_once(embedded: LedgerConfig) -> None:
    journal = journal_of(embedded)
    answers = [Acknowledged() for _ in range(8)]

    def submit(done: Acknowledged) -> None:
        for _ in range(50):
            journal.submit(said(name(), quality=1.0), done)

    threads = [threading.Thread(target=submit, args=(done,)) for done in answers]
    for thread in threads:
        thread.start()
    for thread, done in zip(threads, answers, strict=True):
        thread.join()
        assert done.wait(50) == [None] * 50
    journal.close()
    assert len({outcome.decision_id for outcome in outcomes(embedded)}) == 400


def test_decisions_are_written_behind_in_their_order(embedded: LedgerConfig) -> None:
    journal = journal_of(embedded)
    ids = [name() for _ in range(6)]
    for at in range(0, 6, 2):
        journal.note(noted(ids[at : at + 2]))
    wait_until(lambda: journal.counts().decisions == 6)
    journal.close()
    records = [record for record in written(embedded) if isinstance(record, DecisionBatch)]
    assert "".join(record.ids.hex() for record in records) == "".join(ids)


def test_more_batches_than_one_look_takes_are_written_without_a_pause(
    embedded: LedgerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_BATCHES", 2)
    config = config_in(Path(embedded.directory), flush_ms=60_000.0)
    journal = Journal(config, Recorder(None))
    for _ in range(7):
        journal.note(noted([name()]))
    journal.start()
    journal.close()
    assert journal.counts().decisions == 7


def test_noting_takes_no_lock_and_wakes_nobody(embedded: LedgerConfig) -> None:
    journal = Journal(embedded, Recorder(None))
    journal.note(noted([name()]))
    assert not journal._wake.is_set()


def test_decisions_beyond_the_bound_are_dropped_and_counted_and_the_count_is_recorded(embedded: LedgerConfig) -> None:
    config = config_in(Path(embedded.directory), max_decisions_waiting=7)
    journal = Journal(config, Recorder(None), unix_seconds=lambda: NOW)
    for _ in range(4):
        journal.note(noted([name(), name(), name()]))
    assert journal.counts().dropped == {"queue": 6, "room": 0, "write": 0}
    journal.start()
    journal.close()
    assert journal.counts().decisions == 6
    assert journal._noted == journal._taken
    assert [record for record in written(config) if isinstance(record, Drops)] == [
        Drops(at=NOW, amount=6, reason="queue", writer=journal.writer)
    ]


def test_without_room_decisions_go_first_and_come_back_with_the_count_of_what_is_missing(
    embedded: LedgerConfig,
) -> None:
    folder = Path(embedded.directory) / "journal"
    folder.mkdir()
    clock = [0.0]
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(7 << 20))  # of 8
    journal = Journal(embedded, Recorder(None), clock=lambda: clock[0])
    journal.start()
    journal.note(noted([name(), name()]))
    acknowledge(journal, said(name(), quality=1.0))
    clock[0] = 0.5
    acknowledge(journal, said(name(), quality=1.0))
    wait_until(lambda: journal.counts().dropped["room"] == 2)
    ballast.unlink()
    clock[0] = 5.0
    journal.note(noted([name()]))
    acknowledge(journal, said(name(), quality=1.0))
    wait_until(lambda: journal.counts().decisions == 1)
    journal.close()
    assert [record.amount for record in written(embedded) if isinstance(record, Drops)] == [2]


def test_without_any_room_outcomes_are_refused_with_the_reason(embedded: LedgerConfig) -> None:
    folder = Path(embedded.directory) / "journal"
    folder.mkdir()
    (folder / "ballast").write_bytes(bytes(8 << 20))
    journal = journal_of(embedded)
    with pytest.raises(Unavailable, match=r"no store has taken; .* ledger\.journal_bytes"):
        journal.submit(said(name(), quality=1.0), Acknowledged())
    assert journal.counts().refused == 1
    journal.close()
    assert outcomes(embedded) == []


def test_too_many_that_wait_are_refused(embedded: LedgerConfig) -> None:
    journal = Journal(config_in(Path(embedded.directory), max_outcomes_waiting=2), Recorder(None))
    done = Acknowledged()
    for _ in range(2):
        journal.submit(said(name(), quality=1.0), done)
    with pytest.raises(Unavailable, match="2 outcomes wait"):
        journal.submit(said(name(), quality=1.0), done)
    journal.start()
    assert done.wait(2) == [None, None]
    journal.close()


def test_a_full_disk_refuses_what_it_does_not_take_and_loses_nothing_else(
    embedded: LedgerConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    journal = journal_of(embedded)
    before, refused, after = (said(name(), quality=1.0) for _ in range(3))
    acknowledge(journal, before)
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) > 20:
            write(descriptor, data[:20])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as then, caplog.at_level(logging.WARNING):
        then.setattr(os, "write", full)
        done = Acknowledged()
        journal.submit(refused, done)
        (answer,) = done.wait(1)
        assert isinstance(answer, Unavailable)
        assert "No space left" in str(answer)
        journal.note(noted([name()]))
        wait_until(lambda: journal.counts().dropped["write"] == 1)
    acknowledge(journal, after)
    journal.close()
    assert outcomes(embedded) == [before, after]
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_an_outcome_that_cannot_be_kept_is_refused_at_once(embedded: LedgerConfig) -> None:
    journal = Journal(embedded, Recorder(None))
    with pytest.raises(InvalidRequest, match="quality"):
        journal.submit(Outcome(decision_id=name(), source="user", received=NOW, quality=2.0), Acknowledged())


def test_a_caller_that_fails_does_not_keep_the_others_from_their_answers(
    embedded: LedgerConfig, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(embedded, Recorder(None))
    asked = "what the user asked"

    def gone(_: object) -> None:
        raise ConnectionError(asked)

    done = Acknowledged()
    journal.submit(said(name(), quality=1.0), gone)
    journal.submit(said(name(), quality=1.0), done)
    journal.start()
    assert done.wait(1) == [None]
    acknowledge(journal, said(name(), quality=1.0))
    journal.close()
    assert "ConnectionError" in caplog.text
    assert asked not in caplog.text


def test_what_cannot_be_recorded_is_counted_and_the_journal_goes_on(
    embedded: LedgerConfig, caplog: pytest.LogCaptureFixture
) -> None:
    journal = journal_of(embedded)
    journal.note(noted(["not an id"]))
    wait_until(lambda: journal.counts().dropped["write"] == 1)
    journal.note(noted([name()]))
    wait_until(lambda: journal.counts().decisions == 1)
    journal.close()
    assert "decisions could not be recorded" in caplog.text
    assert "secret" not in caplog.text


def test_closing_writes_what_waits_and_refuses_what_comes(embedded: LedgerConfig) -> None:
    journal = Journal(config_in(Path(embedded.directory), flush_ms=60_000.0), Recorder(None))
    journal.start()
    done = Acknowledged()
    journal.note(noted([name()]))
    journal.submit(said(name(), quality=1.0), done)
    journal.close()
    assert (journal.counts().decisions, done.answers) == (1, [None])
    with pytest.raises(Unavailable, match="ending"):
        journal.submit(said(name(), quality=1.0), done)
    journal.note(noted([name()]))
    assert journal.counts().dropped["queue"] == 1


def test_an_outcome_that_comes_in_the_moment_of_the_end_is_answered(embedded: LedgerConfig) -> None:
    journal = journal_of(embedded)
    journal.close()
    journal._closed = False  # as its caller saw it a moment ago
    done = Acknowledged()
    journal.submit(said(name(), quality=1.0), done)
    (answer,) = done.wait(1)
    assert isinstance(answer, Unavailable)


def test_a_directory_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"ledger\.directory"):
        Journal(config_in(tmp_path / "file"), Recorder(None))
