import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sidecar.cli import main
from sidecar.ledger.frames import Kind, frame
from sidecar.ledger.importer import Importer
from sidecar.ledger.records import Drops, encode
from sidecar.ledger.segments import HEAD
from sidecar.ledger.settings import LedgerConfig
from sidecar.ledger.store import open_store
from tests.ledger.made import imported, name, noted, said

AT = 1_700_000_000.0


@pytest.fixture
def file(config: LedgerConfig, tmp_path: Path) -> Path:
    path = tmp_path / "sidecar.toml"
    path.write_text(f'[ledger]\ndirectory = "{config.directory}"\nurl = "{config.url}"\nkeep_days = 0.0\n')
    return path


@pytest.fixture
def filled(config: LedgerConfig, file: Path) -> Path:
    store = open_store(config)
    store.migrate()
    decision = name(AT)
    made = imported(
        noted([decision, name(AT + 60)]),
        outcomes=[said(each, received=AT + 99, quality=1.0) for each in (decision, name(AT))],
    )
    made.add(Drops(at=1.0, amount=5, reason="room", writer="w"))
    store.add(made)
    store.close()
    folder = Path(config.directory) / "journal"
    folder.mkdir(exist_ok=True)
    (folder / "w-1-outcomes.journal").write_bytes(HEAD + frame(Kind.OUTCOMES, [encode([said(name(AT), error="")])]))
    return file


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["ledger", *map(str, arguments)])


def test_stat_says_what_there_is(filled: Path) -> None:
    found = run("stat", "--config", filled)
    assert found.exit_code == 0
    for line in (
        "decisions  2, 2023-11-14T22:13:20+00:00 to 2023-11-14T22:14:20+00:00",
        "outcomes   2, 1 of decisions that are not here",
        "dropped    5 (room)",
        "faults     0 spoilt files, 0 bytes of refused records",
    ):
        assert line in found.output
    told = json.loads(run("stat", "--config", filled, "--json").output)
    assert (told["decisions"], told["unknown"], told["dropped"]) == (2, 1, {"room": 5})
    assert told["journals"]["segments"] == 1
    assert told["journals"]["backlog_bytes"] > 0


def test_export_writes_the_days_that_there_are(filled: Path, tmp_path: Path) -> None:
    done = run("export", "--config", filled, "--to", tmp_path / "out", "--until", "2023-11-20")
    assert "2 decisions, 1 of them with a known quality, in 1 files" in done.output
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["day=2023-11-14"]
    refused = run("export", "--config", filled, "--to", tmp_path / "out", "--until", "2023-11-20", "--training")
    assert (refused.exit_code, "set ledger.store_prompts" in refused.output) == (1, True)


def test_prune_deletes_what_is_not_to_be_kept(filled: Path) -> None:
    assert "deleted 0 decisions and 0 outcomes" in run("prune", "--config", filled).output
    filled.write_text(filled.read_text().replace("keep_days = 0.0", "keep_days = 3.0"))
    assert "deleted 2 decisions and 2 outcomes" in run("prune", "--config", filled).output


def test_verify_finds_what_is_wrong(filled: Path, config: LedgerConfig) -> None:
    assert run("verify", "--config", filled).output == "sound\n"
    journal = Path(config.directory) / "journal" / "w-1-outcomes.journal"
    content = bytearray(journal.read_bytes())
    content[-3] ^= 1
    journal.write_bytes(content + frame(Kind.OUTCOMES, [encode([])]))
    found = run("verify", "--config", filled)
    assert found.exit_code == 1
    assert "w-1-outcomes.journal" in found.output
    importer = Importer(config)
    importer.step()
    importer.close()
    assert "1 files of journals were changed" in run("verify", "--config", filled).output
    (Path(config.directory) / "refused").write_bytes(b"x")
    assert "1 bytes of records were refused" in run("verify", "--config", filled).output


def test_looking_at_a_ledger_does_not_make_one(file: Path, config: LedgerConfig) -> None:
    found = run("stat", "--config", file)
    assert found.exit_code == 1
    assert "start the sidecar" in found.output
    assert list(Path(config.directory).iterdir()) == []


def test_without_a_ledger_one_is_told_how_to_have_one(tmp_path: Path) -> None:
    (tmp_path / "sidecar.toml").write_text("")
    found = run("verify", "--config", tmp_path / "sidecar.toml")
    assert "ledger.directory: is not set" in found.output


def test_the_shown_configuration_hides_the_password(tmp_path: Path) -> None:
    file = tmp_path / "sidecar.toml"
    file.write_text('[ledger]\ndirectory = "d"\nurl = "postgresql://me:geheim@h/d"\n')
    shown = CliRunner().invoke(main, ["config", "show", str(file)])
    assert json.loads(shown.output)["ledger"]["url"] == "postgresql://me:***@h/d"
