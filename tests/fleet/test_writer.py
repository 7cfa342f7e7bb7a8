import subprocess
import sys

import pytest

from sidecar.errors import ConfigError
from sidecar.fleet.columns import FIRST_N, IN_FLIGHT, PROBES, PROBES_OK, STARTED, TOKENS_IN_FLIGHT
from sidecar.fleet.layout import EPOCH, SEQUENCE
from sidecar.fleet.table import FleetTable
from sidecar.fleet.writer import Writer
from tests.fleet.stage import Clock


def test_each_process_gets_a_section_of_its_own_the_preferred_one_if_it_is_free(
    table: FleetTable, clock: Clock
) -> None:
    writers = [Writer(table, preferred, clock) for preferred in (1, 1, 5, 5)]
    assert [writer.number for writer in writers] == [1, 2, 5, 0]


def test_when_all_sections_are_taken_the_next_one_is_refused(table: FleetTable, clock: Clock) -> None:
    writers = [Writer(table, 0, clock) for _ in range(table.writers)]
    with pytest.raises(ConfigError, match="all 6 sections"):
        Writer(table, 0, clock)
    writers[3].close()
    assert Writer(table, 0, clock).number == 3


def test_a_name_keeps_its_row(table: FleetTable, clock: Clock) -> None:
    writer = Writer(table, 0, clock)
    assert [writer.row(name) for name in ("a", "b", "a", "ä")] == [0, 1, 0, 2]
    assert writer.names() == ["a", "b", "ä"]
    assert table.label(0) == [b"a", b"b", "ä".encode()]


def test_more_names_than_rows_are_refused_and_the_others_go_on(table: FleetTable, clock: Clock) -> None:
    writer = Writer(table, 0, clock)
    for number in range(32):
        writer.row(f"model-{number}")
    with pytest.raises(ConfigError, match=r"fleet\.max_names"):
        writer.row("one more")
    assert writer.row("model-31") == 31


def test_others_see_rows_when_they_are_published(table: FleetTable, clock: Clock) -> None:
    writer = Writer(table, 0, clock)
    row = writer.row("a")
    writer.rows[row, STARTED] = 3.0
    assert table.rows[0, row, STARTED] == 0.0
    writer.publish()
    assert table.rows[0, row, STARTED] == 3.0


def test_single_cells_and_rows_are_the_same_memory(table: FleetTable, clock: Clock) -> None:
    writer = Writer(table, 0, clock)
    writer.cells[STARTED] = 2.0
    assert writer.rows[0, STARTED] == 2.0


def test_a_successor_goes_on_with_what_was_known_but_not_with_the_calls_in_flight(
    table: FleetTable, clock: Clock
) -> None:
    former = Writer(table, 0, clock)
    former.row("a")
    row = former.row("b")
    for column, value in ((IN_FLIGHT, 5.0), (TOKENS_IN_FLIGHT, 500.0), (FIRST_N, 7.0), (PROBES, 3.0), (PROBES_OK, 1.0)):
        former.rows[row, column] = value
    former.publish()
    epoch = former.epoch
    former.close()
    table.rows[0, row, IN_FLIGHT] = 5.0  # as if it had been killed
    successor = Writer(table, 0, clock)
    assert successor.number == 0
    assert successor.names() == ["a", "b"]
    for rows in (successor.rows, table.rows[0]):
        assert rows[row, [IN_FLIGHT, TOKENS_IN_FLIGHT, FIRST_N, PROBES, PROBES_OK]].tolist() == [
            0.0,
            0.0,
            7.0,
            1.0,
            1.0,
        ]
    assert successor.epoch != epoch
    assert table.control[0, EPOCH] == successor.epoch


def test_what_a_process_left_half_written_is_thrown_away(table: FleetTable, clock: Clock) -> None:
    former = Writer(table, 0, clock)
    former.row("a")
    former.rows[0, FIRST_N] = 7.0
    former.publish()
    former.close()
    table.control[0, SEQUENCE] += 1  # it died while it wrote
    successor = Writer(table, 0, clock)
    assert successor.names() == []
    assert not table.rows[0].any()
    assert table.control[0, SEQUENCE] % 2 == 0


def test_after_close_it_counts_as_dead(table: FleetTable, clock: Clock) -> None:
    writer = Writer(table, 0, clock)
    assert table.heartbeats[0] == clock.now
    clock.now += 5.0
    writer.beat()
    assert table.heartbeats[0] == clock.now
    writer.close()
    assert table.heartbeats[0] == 0.0


def test_a_killed_process_leaves_its_section_to_the_next_one(table: FleetTable, clock: Clock) -> None:
    program = (
        "import os, signal, sys, time; from pathlib import Path; from sidecar.fleet.table import FleetTable; "
        "from sidecar.fleet.writer import Writer; "
        "w = Writer(FleetTable.attach(Path(sys.argv[1])), 2, time.monotonic); w.row('a'); print(w.number, flush=True); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(table.path)], stdout=subprocess.PIPE, timeout=60, check=False
    )
    assert done.stdout.split() == [b"2"]
    assert done.returncode == -9
    successor = Writer(table, 2, clock)
    assert successor.number == 2
    assert successor.names() == ["a"]
