import ctypes
from typing import Any

import pytest

from sidecar.bundle import memory
from sidecar.bundle.load import load


def test_loading_gives_back_what_only_it_needed(tiny_bundle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    class Library:
        malloc_trim = staticmethod(calls.append)

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library)
    load(tiny_bundle)
    assert calls == [0]


@pytest.mark.parametrize("error", [AttributeError, OSError])
def test_a_c_library_without_the_call_is_no_obstacle(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def absent(name: None) -> None:
        raise error

    monkeypatch.setattr(ctypes, "CDLL", absent)
    memory.give_back()
