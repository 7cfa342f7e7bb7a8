import itertools
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sidecar.bundle.child import MAX_BYTES, Child
from tests.descendants import descendants

ANSWER = "import os; os.write(mouth, b'done')"


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    """No test leaves a process behind, not even a dead one."""
    before = descendants()
    yield
    assert descendants() == before


def spoken(program: str, order: bytes = b"", seconds: float = 60.0) -> tuple[bytes, int, Child]:
    child = Child(program, order, time.monotonic)
    try:
        said = child.listen(time.monotonic() + seconds)
    finally:
        status = child.end()
    return said, status, child


def test_it_hears_its_order_and_is_heard() -> None:
    order = bytes(range(256)) * 8192  # far more than a pipe holds
    said, status, child = spoken("import os, sys; os.write(mouth, sys.stdin.buffer.read()[-300:])", order)
    assert (said, status, child.late, child.talkative) == (order[-300:], 0, False, False)


def test_it_leaves_the_core_to_others() -> None:
    said, _, _ = spoken("import os; os.write(mouth, str(os.nice(0)).encode())")
    assert int(said) == min(os.nice(0) + 10, 19)


def test_an_order_that_it_never_reads_blocks_nobody() -> None:
    assert spoken(ANSWER, bytes(4 << 20))[:2] == (b"done", 0)


def test_what_it_prints_is_no_part_of_what_it_says() -> None:
    assert spoken("import sys; print('x'); print('y', file=sys.stderr); " + ANSWER)[0] == b"done"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_its_death_by_a_signal_is_told(number: signal.Signals) -> None:
    program = f"{ANSWER}; import resource as r; r.setrlimit(r.RLIMIT_CORE, (0, 0)); os.kill(os.getpid(), {int(number)})"
    assert spoken(program)[:2] == (b"done", -number)


def test_its_status_is_told() -> None:
    assert spoken("raise SystemExit(3)")[:2] == (b"", 3)


@pytest.mark.parametrize("first", ["pass", "import os; os.close(mouth)", "import os; os.write(mouth, b'x')"])
def test_one_that_does_not_end_is_killed_at_the_deadline(first: str) -> None:
    ticks = itertools.chain([0.0], itertools.repeat(1.0))
    child = Child(f"{first}; import time; time.sleep(1000)", b"", lambda: next(ticks))
    try:
        child.listen(0.5)
    finally:
        status = child.end()
    assert (child.late, status) == (True, -signal.SIGKILL)


def test_the_deadline_holds_also_while_it_is_quiet_with_its_pipe_closed() -> None:
    said, status, child = spoken("import os, time; os.close(mouth); time.sleep(1000)", seconds=0.3)
    assert (said, status, child.late) == (b"", -signal.SIGKILL, True)


def test_one_that_talks_too_much_is_cut_off() -> None:
    program = f"import os\nwhile True: os.write(mouth, bytes({MAX_BYTES}))"
    said, _, child = spoken(program)
    assert (said, child.talkative) == (b"", True)


def test_what_it_started_ends_with_it(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    program = (
        "import os, time\nif os.fork() == 0:\n"
        f"    open({str(note) + '.new'!r}, 'w').write(str(os.getpid())); os.rename({str(note) + '.new'!r}, {str(note)!r})\n"
        f"    time.sleep(1000)\nwhile not os.path.exists({str(note)!r}): time.sleep(0.001)"
    )
    assert spoken(program)[1] == 0
    with pytest.raises(psutil.NoSuchProcess):
        _wait_until_dead(int(note.read_text()))


def _wait_until_dead(pid: int) -> None:
    """Raises NoSuchProcess once it is gone; a killed process takes a moment to go."""
    while True:
        if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            raise psutil.NoSuchProcess(pid)  # its new parent reaps it, or does not care


def test_it_inherits_no_descriptor_and_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "x")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/needed/for/cuda")
    kept, other = os.pipe()
    try:
        os.set_inheritable(kept, True)  # noqa: FBT003 - its signature
        said, _, _ = spoken(
            "import os, json; open_ones = [int(each) for each in os.listdir('/proc/self/fd')]; "
            "facts = [sorted(os.environ), os.getcwd(), [each for each in open_ones if os.path.exists("
            "f'/proc/self/fd/{each}')], mouth]; os.write(mouth, json.dumps(facts).encode())"
        )
    finally:
        os.close(kept)
        os.close(other)
    variables, folder, descriptors, mouth = json.loads(said)
    assert set(variables) <= {
        *("LANG", "LC_CTYPE", "TOKENIZERS_PARALLELISM", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
        *("LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_VISIBLE_DEVICES", "TZ"),
    }
    assert "LD_LIBRARY_PATH" in variables
    assert folder == "/"
    assert set(descriptors) == {0, 1, 2, mouth}


def test_it_finds_the_packages_where_they_were_found_here() -> None:
    said, _, _ = spoken("import os, sidecar; os.write(mouth, sidecar.__file__.encode())")
    import sidecar  # noqa: PLC0415 - what is compared

    assert said.decode() == sidecar.__file__


def test_no_descriptor_of_ours_is_left_open() -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - numbers, not files
    for _ in range(3):
        spoken(ANSWER)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_where_no_process_can_be_had_nothing_is_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with pytest.raises(OSError, match="No such file"):
        Child(ANSWER, b"", time.monotonic)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
