import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sidecar.errors import ConfigError
from sidecar.fleet.layout import NAME_BYTES, VERSION
from sidecar.fleet.table import FleetTable, key_of


def test_what_one_attaches_is_what_another_created(table: FleetTable) -> None:
    other = FleetTable.attach(table.path)
    table.rows[2, 3, 4] = 7.0
    table.labels[1, 2] = b"model"
    table.relays[5, -1, -1] = 9.0
    table.beat(4, 12.5)
    assert (other.writers, other.names) == (6, 32)
    assert other.rows[2, 3, 4] == 7.0
    assert other.labels[1, 2] == b"model"
    assert other.relays[5, -1, -1] == 9.0
    assert other.heartbeats.tolist() == [0.0, 0.0, 0.0, 0.0, 12.5, 0.0]


def test_sections_and_their_parts_do_not_overlap(table: FleetTable) -> None:
    parts = (table.control, table.rows, table.labels.view(np.int64), table.relays)
    for value, part in enumerate(parts, 1):
        part[:] = value
    table.heartbeats[:] = 9.0
    for value, part in enumerate(parts, 1):
        assert (part == value).all()


def test_another_process_can_attach(table: FleetTable) -> None:
    program = (
        "import sys; from pathlib import Path; from sidecar.fleet.table import FleetTable; "
        "FleetTable.attach(Path(sys.argv[1])).beat(1, 5.0)"
    )
    subprocess.run([sys.executable, "-c", program, str(table.path)], check=True, timeout=60)
    assert table.heartbeats[1] == 5.0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is a file")
def test_it_has_no_pages_on_a_disk(table: FleetTable) -> None:
    assert "memfd" in str(table.path.readlink().readlink())


def test_a_table_that_is_gone_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is its supervisor running"):
        FleetTable.attach(tmp_path / "none")


def test_after_close_nobody_can_attach(tmp_path: Path) -> None:
    made = FleetTable.create(tmp_path / "fleet", 1, 16)
    made.close()
    made.close()
    with pytest.raises(ConfigError):
        FleetTable.attach(tmp_path / "fleet")
    made.rows[0, 0, 0] = 1.0  # who has it may go on


@pytest.mark.parametrize("damage", ["magic", "version", "size", "short"])
def test_another_version_or_another_file_is_refused(table: FleetTable, tmp_path: Path, damage: str) -> None:
    content = bytearray(Path(table.path).read_bytes())
    if damage == "magic":
        content[0] ^= 1
    elif damage == "version":
        content[8] = VERSION + 1
    elif damage == "size":
        content += bytes(8)
    else:
        content = content[:64]
    (tmp_path / "other").write_bytes(content)
    with pytest.raises(ConfigError, match="no fleet table of version"):
        FleetTable.attach(tmp_path / "other")


@pytest.mark.parametrize("writers", [0, 257])
def test_more_writers_than_an_id_can_name_are_refused(tmp_path: Path, writers: int) -> None:
    with pytest.raises(ConfigError, match="fewer workers"):
        FleetTable.create(tmp_path / "fleet", writers, 16)


@pytest.mark.parametrize("name", ["", "x" * (NAME_BYTES + 1), "a\0b", "ü" * (NAME_BYTES // 2 + 1)])
def test_names_that_do_not_fit_are_refused_with_the_limit(name: str) -> None:
    with pytest.raises(ConfigError, match=f"1 to {NAME_BYTES}"):
        key_of(name)


def test_the_longest_name_fits(table: FleetTable) -> None:
    table.labels[0, 0] = key_of("x" * NAME_BYTES)
    assert table.labels[0, 0] == b"x" * NAME_BYTES
