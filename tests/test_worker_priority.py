import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from sidecar import worker


def priority() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread has no priority of its own")
def test_the_thread_that_loads_steps_back_and_no_other() -> None:
    before = priority()
    with ThreadPoolExecutor(1, initializer=worker._step_back) as loader:
        assert loader.submit(priority).result() == min(19, before + worker.NICER)
    assert priority() == before


def test_where_nobody_may_step_back_loading_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr("os.setpriority", forbidden)
    with ThreadPoolExecutor(1, initializer=worker._step_back) as loader:
        assert loader.submit(lambda: 1).result() == 1
