import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sidecar.fleet.columns import STARTED
from sidecar.fleet.layout import SEQUENCE
from sidecar.fleet.reader import Reader
from sidecar.fleet.table import FleetTable
from sidecar.fleet.writer import Writer
from tests.fleet.hammer import ROWS
from tests.fleet.stage import Clock


def test_rows_are_found_by_name_in_whatever_order_a_process_has_them(table: FleetTable, clock: Clock) -> None:
    for number, names in enumerate((("a", "b", "c"), ("c", "x", "a"))):
        writer = Writer(table, number, clock)
        for name in names:
            writer.rows[writer.row(name), STARTED] = ord(name)
        writer.publish()
    reader = Reader(table, ["b", "a", "c"])
    assert reader.read()[:, :, STARTED].tolist() == [[98.0, 97.0, 99.0], [0.0, 97.0, 99.0]]
    assert reader.writers.tolist() == [0, 1]


def test_a_process_that_comes_later_and_a_name_that_comes_later_are_seen(table: FleetTable, clock: Clock) -> None:
    reader = Reader(table, ["a"])
    assert reader.read().shape[0] == 0
    writer = Writer(table, 3, clock)
    assert reader.read()[:, 0, STARTED].tolist() == [0.0]
    writer.row("b")
    writer.rows[writer.row("a"), STARTED] = 4.0
    writer.publish()
    assert reader.read()[:, 0, STARTED].tolist() == [4.0]


def test_the_own_section_is_left_out_and_there_is_room_for_it(table: FleetTable, clock: Clock) -> None:
    own, other = Writer(table, 0, clock), Writer(table, 1, clock)
    for writer in (own, other):
        writer.rows[writer.row("a"), STARTED] = 1.0 + writer.number
        writer.publish()
    block = Reader(table, ["a"], without=own.number, spare=1).read()
    assert block[:, 0, STARTED].tolist() == [2.0, 0.0]


def test_a_section_that_stays_half_written_is_read_as_it_was_before(table: FleetTable, clock: Clock) -> None:
    writer = Writer(table, 0, clock)
    row = writer.row("a")
    writer.rows[row, STARTED] = 1.0
    writer.publish()
    reader = Reader(table, ["a"])
    assert reader.read()[0, 0, STARTED] == 1.0
    table.control[0, SEQUENCE] += 1
    table.rows[0, row, STARTED] = 2.0
    for _ in range(3):
        assert reader.read()[0, 0, STARTED] == 1.0
    assert reader.torn == 3
    table.control[0, SEQUENCE] += 1
    assert reader.read()[0, 0, STARTED] == 2.0


def test_no_read_is_torn_while_other_processes_write_as_fast_as_they_can(table: FleetTable) -> None:
    program = [sys.executable, str(Path(__file__).with_name("hammer.py")), str(table.path)]
    processes = [
        subprocess.Popen(
            [*program, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": str(Path.cwd())},
        )
        for number in range(2)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == b"writing\n"
        reader = Reader(table, [f"model-{row}" for row in reversed(range(ROWS))])
        latest = np.zeros(2)
        changes = 0
        end = time.monotonic() + 3.0
        while time.monotonic() < end and changes < 3000:
            block = reader.read()
            stamps = block[:, -1, 0]
            assert (block == block[:, :, :1]).all()
            for section in range(2):
                if stamps[section]:
                    expected = stamps[section] + np.arange(ROWS)[::-1]
                    assert block[section, :, 0].tolist() == expected.tolist()
            assert (stamps >= latest).all()
            changes += int((stamps > latest).any())
            latest = stamps.copy()
        assert changes > 50
    finally:
        for process in processes:
            process.communicate(timeout=30)


@pytest.mark.parametrize("names", [[], ["a"]])
def test_where_nobody_writes_there_is_nothing_to_read(table: FleetTable, names: list[str]) -> None:
    assert Reader(table, names, spare=1).read().shape[:2] == (1, len(names))
