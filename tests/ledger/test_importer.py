import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.errors import ConfigError
from sidecar.ledger import importer as module
from sidecar.ledger import segments, sqlite
from sidecar.ledger.frames import Kind, frame, scan
from sidecar.ledger.importer import Importer, Step
from sidecar.ledger.outcome import Outcome
from sidecar.ledger.records import Drops, encode
from sidecar.ledger.rows import Added, Import
from sidecar.ledger.settings import LedgerConfig
from sidecar.ledger.store import Store, StoreAway, Unacceptable, open_store
from sidecar.ledger.strays import PATIENCE_S
from tests.ledger.made import NOW, acknowledge, config_in, journal_of, name, noted, said, wait_until
from tests.ledger.postgres_server import Server

ALL = (bytes(16), b"\xff" * 16)


@pytest.fixture
def importer(config: LedgerConfig) -> Iterator[Importer]:
    made = Importer(config)
    yield made
    made.close()


def folder_of(config: LedgerConfig) -> Path:
    return Path(config.directory) / "journal"


def drained(importer: Importer) -> list[Step]:
    steps = [importer.step()]
    while steps[-1].more:
        steps.append(importer.step())
    return steps


def ids(store: Store) -> tuple[list[str], list[str]]:
    decisions, outcomes = store.decisions(*ALL, 100_000), store.outcomes(*ALL)
    return [each.decision_id.hex() for each in decisions], [each.decision_id.hex() for each in outcomes]


def leave(config: LedgerConfig, *frames: bytes, stream: str = "outcomes", writer: str = "") -> Path:
    """A segment of a dead writer."""
    folder_of(config).mkdir(parents=True, exist_ok=True)
    path = folder_of(config) / f"{writer or segments.writer_name()}-00000001-{stream}{segments.SUFFIX}"
    path.write_bytes(segments.HEAD + b"".join(frames))
    return path


def group(*outcomes: Outcome) -> bytes:
    return frame(Kind.OUTCOMES, [encode(outcomes)])


def test_what_living_workers_wrote_is_in_the_store_each_once(config: LedgerConfig, importer: Importer) -> None:
    journals = [journal_of(config) for _ in range(2)]
    made = []
    for journal in journals:
        for _ in range(3):
            made.append(name())
            journal.note(noted([made[-1]]))
            acknowledge(journal, said(made[-1], quality=1.0))
            importer.step()
    wait_until(lambda: sum(journal.counts().decisions for journal in journals) == 6)
    importer.step()
    assert ids(importer.store()) == (sorted(made), sorted(made))
    assert (importer.imported.decisions, importer.imported.outcomes) == (6, 6)
    assert importer.imported.backlog_bytes == 0
    assert len(segments.segments(folder_of(config))) == 4  # they may write on
    for journal in journals:
        journal.close()
    importer.step()
    assert segments.segments(folder_of(config)) == []
    assert importer.store().positions() == {}


def test_what_a_dead_worker_left_is_imported_without_what_was_torn(config: LedgerConfig, importer: Importer) -> None:
    one, other = said(name(), quality=1.0), said(name(), quality=0.0)
    leave(config, group(one), group(other)[:-1])
    importer.step()
    assert ids(importer.store())[1] == [one.decision_id]
    assert importer.imported.torn_bytes == len(group(other)) - 1
    assert segments.segments(folder_of(config)) == []


def test_a_second_importer_is_refused(config: LedgerConfig, importer: Importer) -> None:
    with pytest.raises(ConfigError, match="in use by another sidecar"):
        Importer(config)
    importer.close()
    Importer(config).close()


def test_large_journals_are_imported_in_steps(
    config: LedgerConfig, importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 10)
    for _ in range(4):
        leave(config, *(group(said(name(), quality=1.0)) for _ in range(8)))
    assert [step.outcomes for step in drained(importer)] == [16, 16]
    assert importer.imported.outcomes == 32


def test_an_importer_that_died_after_the_commit_does_not_import_again(config: LedgerConfig) -> None:
    path = leave(config, group(said(name(), quality=1.0)))
    content = path.read_bytes()
    first = Importer(config)
    first._finish = lambda *_: None  # type: ignore[method-assign]  # it dies here
    assert first.step().outcomes == 1
    first.close()
    assert path.read_bytes() == content
    second = Importer(config)
    assert second.step().outcomes == 0
    assert (second.imported.repeated, path.exists()) == (0, False)
    second.close()


def test_what_is_imported_again_after_the_store_forgot_the_position_is_there_once(
    config: LedgerConfig, importer: Importer
) -> None:
    journal = journal_of(config)
    decision = name()
    journal.note(noted([decision]))
    acknowledge(journal, said(decision, quality=1.0))
    wait_until(lambda: journal.counts().decisions == 1)
    importer.step()
    importer.store().forget(list(importer.store().positions()))
    importer.close()
    again = Importer(config)
    again.step()
    assert ids(again.store()) == ([decision], [decision])
    assert (again.imported.decisions, again.imported.outcomes, again.imported.repeated) == (0, 0, 1)
    again.close()
    journal.close()


def test_a_spoilt_segment_loses_only_the_records_that_were_changed_and_is_kept(
    config: LedgerConfig, importer: Importer, caplog: pytest.LogCaptureFixture
) -> None:
    outcomes = [said(name(), quality=1.0) for _ in range(6)]
    groups = [group(outcome) for outcome in outcomes]
    for changed in (1, 2, 4):
        groups[changed] = groups[changed][:-1] + b"?"
    path = leave(config, *groups)
    content = path.read_bytes()
    importer.step()
    importer.step()
    assert ids(importer.store())[1] == [outcomes[kept].decision_id for kept in (0, 3, 5)]
    assert importer.imported.spoilt == 1
    assert path.with_suffix(segments.CORRUPT).read_bytes() == content
    assert not path.exists()
    assert importer.store().positions() == {}
    assert len(caplog.records) == 1


def test_a_segment_whose_first_record_was_changed_is_read_from_the_second_on(
    config: LedgerConfig, importer: Importer
) -> None:
    good = said(name(), quality=1.0)
    leave(config, group(said(name(), quality=1.0))[:-1] + b"?", group(good))
    importer.step()
    assert ids(importer.store())[1] == [good.decision_id]


def test_behind_a_length_that_was_changed_nothing_is_believed(config: LedgerConfig, importer: Importer) -> None:
    outcomes = [said(name(), quality=1.0) for _ in range(3)]
    # Its own text looks like a record, as a caller's may.
    forged = said(name(), source="forged", quality=0.0)
    inside = frame(Kind.DROPS, [b"x" * 40 + group(forged) + b"x" * 40])
    changed = (int.from_bytes(inside[:4]) - 60).to_bytes(4) + inside[4:]
    path = leave(config, group(outcomes[0]), changed, group(outcomes[1]), group(outcomes[2]))
    importer.step()
    assert ids(importer.store())[1] == [outcomes[0].decision_id]
    assert (importer.imported.spoilt, path.with_suffix(segments.CORRUPT).exists()) == (1, True)


def test_records_that_nobody_can_read_are_set_aside_and_hold_nothing_up(
    config: LedgerConfig, importer: Importer, caplog: pytest.LogCaptureFixture
) -> None:
    good = said(name(), quality=1.0)
    strange = [frame(9, [b"new"]), frame(Kind.OUTCOMES, [b"\xc1"]), frame(Kind.DECISIONS, [encode({"a": 1})])]
    leave(config, *strange, group(good))
    with caplog.at_level(logging.ERROR):
        importer.step()
    assert ids(importer.store())[1] == [good.decision_id]
    assert importer.imported.set_aside == 3
    assert (Path(config.directory) / "refused").read_bytes() == b"".join(strange)


def test_one_record_that_the_store_refuses_does_not_take_its_neighbours_with_it(config: LedgerConfig) -> None:
    bad, *good = (said(name(), quality=1.0, key=key) for key in ("bad", "a", "b"))
    leave(config, group(good[0], bad, good[1]))
    decisions = leave(config, frame(Kind.DROPS, [encode(Drops(at=NOW, amount=2, reason="room", writer="w"))]))

    class Choosy:
        """A store that takes no outcome with the key `bad`."""

        def __init__(self) -> None:
            self._store = open_store(config)

        def __getattr__(self, called: str) -> object:
            return getattr(self._store, called)

        def add(self, batch: Import) -> Added:
            if any("bad" in row for row in batch.outcomes):
                raise Unacceptable("it is bad")
            return self._store.add(batch)

    importer = Importer(config, Choosy)  # type: ignore[arg-type]
    assert importer.step().outcomes == 2
    assert sorted(ids(importer.store())[1]) == sorted(each.decision_id for each in good)
    assert importer.store().stat().dropped == {"room": 2}
    refused = (Path(config.directory) / "refused").read_bytes()
    assert [bytes(each.payload) for each in scan(memoryview(refused))] == [encode([bad])]
    assert (importer.imported.set_aside, decisions.exists()) == (1, False)
    importer.close()


def test_while_another_holds_the_store_callers_do_not_wait_and_nothing_is_set_aside_twice(
    embedded: LedgerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "LOCKED_S", 0.01)
    holder = open_store(embedded)
    holder.migrate()
    strange = [frame(9, [b"new"]), frame(Kind.OUTCOMES, [b"\xc1"])]
    leave(embedded, *strange, group(said(name(), quality=1.0)))
    importer, journal = Importer(embedded), journal_of(embedded)
    importer.store()
    with holder._transaction():  # type: ignore[attr-defined]
        for _ in range(3):
            with pytest.raises(StoreAway, match="locked"):
                importer.step()
            acknowledge(journal, said(name(), quality=1.0))
        assert importer.imported.set_aside == 2
    drained(importer)
    assert (importer.imported.outcomes, importer.imported.set_aside) == (4, 2)
    assert (Path(embedded.directory) / "refused").read_bytes() == b"".join(strange)
    leave(embedded, strange[0])
    drained(importer)
    assert importer.imported.set_aside == 3  # the same again, but another one
    journal.close()
    importer.close()
    holder.close()


def test_through_a_restart_of_postgresql_nothing_is_lost_or_doubled(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_DELAY_S", 0.001)
    monkeypatch.setattr(module, "MOST_DELAY_S", 0.05)
    config = config_in(tmp_path, url=postgres.database())
    importer, stop, journal, made = Importer(config), threading.Event(), journal_of(config), []

    def report(amount: int) -> None:
        for _ in range(amount):
            made.append(name())
            journal.note(noted([made[-1]]))
            acknowledge(journal, said(made[-1], quality=1.0))

    running = threading.Thread(target=importer.run, args=(stop, 0.001))
    running.start()
    try:
        for _ in range(2):
            report(20)
            wait_until(lambda: importer.imported.outcomes > 0)
            postgres.stop()
            try:
                report(20)
                wait_until(lambda: "does not answer" in importer.imported.away)
            finally:
                postgres.start()
        report(20)
        journal.close()
        wait_until(lambda: importer.imported.backlog_bytes == 0 and not importer.imported.away)
    finally:
        stop.set()
        running.join(20)
    store = open_store(config)
    assert ids(store) == (sorted(made), sorted(made))
    store.close()


def test_a_segment_of_another_version_is_left_alone(
    config: LedgerConfig, importer: Importer, caplog: pytest.LogCaptureFixture
) -> None:
    path = leave(config)
    path.write_bytes(b"routerjournal\x00\x07\nsomething")
    importer.step()
    importer.step()
    assert path.exists()
    assert importer.imported.backlog_bytes == path.stat().st_size
    assert len(caplog.records) == 1


class Away:
    """Connects to a store that is away as long as `missing` is set."""

    def __init__(self, config: LedgerConfig) -> None:
        self.missing, self.calls = True, 0
        self._config = config

    def __call__(self) -> Store:
        self.calls += 1
        if self.missing:
            raise StoreAway("ledger.url: nobody there.")
        return open_store(self._config)


def test_while_the_store_is_away_the_journals_keep_everything(config: LedgerConfig) -> None:
    connect = Away(config)
    importer = Importer(config, connect)
    outcome = said(name(), quality=1.0)
    path = leave(config, group(outcome))
    for _ in range(2):
        with pytest.raises(StoreAway):
            importer.step()
    assert path.exists()
    connect.missing = False
    importer.step()
    assert ids(importer.store())[1] == [outcome.decision_id]
    importer.close()


def test_it_runs_until_it_is_stopped_through_faults_of_the_store(
    config: LedgerConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "FIRST_DELAY_S", 0.001)
    monkeypatch.setattr(module, "MOST_DELAY_S", 0.002)
    connect = Away(config)
    importer, stop = Importer(config, connect), threading.Event()
    running = threading.Thread(target=importer.run, args=(stop, 0.001))
    running.start()
    wait_until(lambda: connect.calls > 3)
    assert importer.imported.away == "ledger.url: nobody there."
    journal = journal_of(config)
    acknowledge(journal, said(name(), quality=1.0))
    connect.missing = False
    wait_until(lambda: importer.imported.outcomes == 1)
    wait_until(lambda: importer.imported.away == "")
    acknowledge(journal, said(name(), quality=1.0))
    journal.close()
    stop.set()
    running.join(20)
    assert importer.imported.outcomes == 2
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    Importer(config).close()  # the directory is free again


def test_a_connection_that_failed_is_not_used_again(config: LedgerConfig) -> None:
    connect = Away(config)
    connect.missing = False
    importer = Importer(config, connect)
    importer.step()
    leave(config, group(said(name(), quality=1.0)))
    importer.store().close()
    with pytest.raises((StoreAway, Unacceptable)):
        importer.step()
    assert importer.step().outcomes == 1
    assert connect.calls == 2
    importer.close()


def test_what_is_too_old_is_deleted_while_it_runs(embedded: LedgerConfig) -> None:
    importer, stop = Importer(config_in(Path(embedded.directory), keep_days=1.0)), threading.Event()
    leave(embedded, group(said(name(1000.0), received=2000.0, quality=1.0), said(name(), quality=1.0)))
    running = threading.Thread(target=importer.run, args=(stop, 0.001))
    running.start()
    reader = open_store(embedded)
    wait_until(lambda: importer.imported.outcomes == 2)
    wait_until(lambda: reader.stat().outcomes == 1)
    stop.set()
    running.join(20)
    reader.close()


def test_outcomes_whose_decision_does_not_come_are_counted_while_it_runs(config: LedgerConfig) -> None:
    now = [0.0]
    importer, stop = Importer(config, clock=lambda: now[0]), threading.Event()
    leave(config, group(said(name(), quality=0.5), said(name(), quality=1.0)))
    running = threading.Thread(target=importer.run, args=(stop, 0.005), daemon=True)
    running.start()
    try:
        wait_until(lambda: importer.imported.outcomes == 2)
        assert importer.imported.unknown == 0
        now[0] = PATIENCE_S
        wait_until(lambda: importer.imported.unknown == 2)
    finally:
        stop.set()
        running.join(20)
