import socket
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

from benchmarks.importing import Traffic, behind_proxy, keeping_up, main
from sidecar.ledger.frames import scan
from sidecar.ledger.outcome import checked
from sidecar.ledger.records import decode
from sidecar.ledger.rows import Import
from tests.ledger.made import config_in


def test_what_is_written_are_records_as_workers_write_them() -> None:
    traffic, made = Traffic(400, 1, time.time()), Import()
    for piece in traffic.slices:
        for stream in piece:
            for frame in scan(memoryview(stream)):
                record = decode(frame)
                made.add(record)
                if isinstance(record, list):
                    assert [checked(outcome) for outcome in record] == record
    assert len({row[0] for row in made.decisions}) == len(made.decisions) == 400
    assert {row[0] for row in made.outcomes} == {row[0] for row in made.decisions}


def test_all_that_is_written_is_counted_in_the_store(tmp_path: Path) -> None:
    row = keeping_up(config_in(tmp_path / "ledger", segment_bytes=1 << 20), rate=400, seconds=1)
    assert (row["rows"], row["missing"]) == (800, 0)
    assert 0.0 <= float(row["lag_p50_s"]) <= float(row["lag_max_s"])


def test_its_figures_are_printed(tmp_path: Path) -> None:
    told = CliRunner().invoke(main, ["--directory", str(tmp_path), "--rate", "200", "--seconds", "1"])
    assert told.exit_code == 0, told.output
    assert "lag_p99_s" in told.output
    assert list(tmp_path.iterdir()) == []


def test_without_a_delay_there_is_no_proxy() -> None:
    with behind_proxy("postgresql://somewhere/db", 0.0) as seen:
        assert seen == "postgresql://somewhere/db"


@pytest.mark.parametrize("delay_ms", [0.001, 100.0])
def test_the_proxy_passes_bytes_on_in_order_and_later(tmp_path: Path, delay_ms: float) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / ".s.PGSQL.5432"))
        listening.listen()

        def echo() -> None:
            there, _ = listening.accept()
            with there:
                while data := there.recv(100):
                    there.sendall(data)

        answering = threading.Thread(target=echo, daemon=True)
        answering.start()
        with behind_proxy(f"postgresql://me@/db?host={tmp_path}", delay_ms) as seen:
            parts = urlsplit(seen)
            assert (parts.username, parts.path) == ("me", "/db")
            with socket.create_connection(("127.0.0.1", parts.port or 0), 20) as caller:
                began, got = time.monotonic(), b""
                for number in range(100):
                    caller.sendall(bytes([number]))
                while len(got) < 100:
                    got += caller.recv(100)
                assert got == bytes(range(100))
                assert time.monotonic() - began >= delay_ms / 1000
        answering.join(20)
