"""No outcome that was acknowledged is ever lost or doubled, whoever is killed, whenever."""

import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from sidecar.ledger.importer import Importer
from sidecar.ledger.segments import segments
from sidecar.ledger.settings import LedgerConfig
from tests.ledger.killed import LINE
from tests.ledger.made import wait_until

ROUNDS = 16
WRITERS = 4


@contextmanager
def program(*arguments: str | Path) -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.ledger.killed", *arguments],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as process:
        yield process
        process.kill()


def killed_at_some_time(directory: Path, chance: random.Random) -> list[str]:
    """Lets a writer write for a while, kills it, and gives the decisions whose outcomes it had acknowledged."""
    with program("write", directory) as process:
        assert process.stdout is not None
        some = process.stdout.read(LINE * chance.randint(1, 400))
        process.kill()
        lines = (some + process.stdout.read()).split(b"\n")
    assert len(lines[-1]) < LINE  # one that was being said
    return [line.decode() for line in lines[:-1]]


def kept(config: LedgerConfig) -> list[str]:
    importer = Importer(config)
    while importer.step().more:
        pass
    importer.step()
    outcomes = importer.store().outcomes(bytes(16), b"\xff" * 16)
    assert segments(Path(config.directory) / "journal") == []
    assert (importer.imported.spoilt, importer.imported.set_aside) == (0, 0)
    assert importer.store().verify() == []
    importer.close()
    return [outcome.decision_id.hex() for outcome in outcomes]


def fewer(directory: Path, than: int) -> bool:
    return not than or len(segments(directory / "journal")) < than


def check(config: LedgerConfig, acknowledged: list[str]) -> None:
    found = kept(config)
    assert len(acknowledged) == len(set(acknowledged)) > 0
    assert len(found) == len(set(found))
    assert set(acknowledged) <= set(found)


@pytest.mark.slow
def test_a_writer_that_is_killed_again_and_again_loses_nothing_it_acknowledged(embedded: LedgerConfig) -> None:
    chance = random.Random(5)
    directory = Path(embedded.directory)
    acknowledged: list[str] = []
    for number in range(ROUNDS):
        acknowledged += killed_at_some_time(directory, chance)
        if number % 4 == 3:
            check(embedded, acknowledged)


@pytest.mark.slow
def test_an_importer_that_is_killed_while_writers_are_too_loses_and_doubles_nothing(config: LedgerConfig) -> None:
    chance = random.Random(7)
    directory = Path(config.directory)
    acknowledged: list[str] = []
    for _ in range(WRITERS):
        with program("import", directory, config.url) as importer:
            assert importer.stdout is not None
            assert importer.stdout.readline() == b"ready\n"
            acknowledged += killed_at_some_time(directory, chance)
            importer.kill()
        assert importer.wait() < 0
    for _ in range(3):
        with program("import", directory, config.url) as importer:
            assert importer.stdout is not None
            assert importer.stdout.readline() == b"ready\n"
            left = len(segments(directory / "journal"))
            wait_until(partial(fewer, directory, left))
    check(config, acknowledged)
