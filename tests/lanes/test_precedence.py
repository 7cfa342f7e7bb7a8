import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sidecar.lanes import precedence

PROGRAM = """
import os, threading
from sidecar.lanes.precedence import precede

def nice():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

done, seen = threading.Event(), {}

def wait(name):
    ready.set()
    done.wait()
    seen[name] = nice()

threads = []
for name in ("lane", "other"):
    ready = threading.Event()
    threads.append(threading.Thread(target=wait, args=(name,)))
    threads[-1].start()
    ready.wait()
precede(threads[0])
threads.append(threading.Thread(target=wait, args=("later",)))
threads[-1].start()
done.set()
for thread in threads:
    thread.join()
print(seen["lane"], seen["other"], seen["later"], nice())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux only")
def test_one_thread_goes_before_all_others_and_those_that_they_start() -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    lane, *others = map(int, run.stdout.split())
    assert lane == before
    assert others == [precedence.NICE] * 3


def test_where_threads_have_no_priority_nothing_happens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(precedence, "_TASKS", tmp_path / "absent")
    monkeypatch.setattr(os, "setpriority", lambda *_: pytest.fail("no priority is to be set"))
    precedence.precede(threading.current_thread())


def test_a_thread_that_ended_meanwhile_is_no_obstacle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "999999999").mkdir()
    monkeypatch.setattr(precedence, "_TASKS", tmp_path)
    precedence.precede(threading.current_thread())
