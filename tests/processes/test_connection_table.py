from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from sidecar.processes.connection_table import FEW, RECEIVERS, SLOTS, ConnectionTable

Step = tuple[int, int, int, int]
STEPS = st.lists(st.tuples(*[st.integers(0, 99)] * 4), max_size=60)


def played(table: ConnectionTable, workers: int, steps: list[Step]) -> None:
    """Connections are sent, and some of them received, by any process in any order."""
    for any_sender, any_worker, receiver, number in steps:
        sender, worker = any_sender % (SLOTS * workers + 1), any_worker % workers
        sent = table.note_sent(sender, worker)
        if number % 3:
            table.note_taken(worker, receiver % RECEIVERS, sender, number % (sent + 1))


@given(workers=st.integers(1, 2 * FEW), steps=STEPS)
def test_what_is_coming_is_the_same_with_and_without_numpy(workers: int, steps: list[Step]) -> None:
    with TemporaryDirectory() as runtime:
        table = ConnectionTable(Path(runtime), workers)
        played(table, workers, steps)
        assert table._few_coming() == table._many_coming() == table.coming()


def test_another_process_reads_what_one_wrote(tmp_path: Path) -> None:
    written, read = ConnectionTable(tmp_path, 3), ConnectionTable(tmp_path, 3)
    slot = written.begin(1, 4711)
    written.set_process(1, 4711)
    written.publish(1, slot, 5)
    assert written.note_sent(written.supervisor, 1) == 1
    assert read.loads() == [-1, 6, -1]
    assert read.coming() == [0, 1, 0]
    read.note_taken(1, slot, read.supervisor, 1)
    assert (written.coming(), written.loads()) == ([0, 0, 0], [-1, 6, -1])
