import os

import pytest

from benchmarks import cores

pytestmark = pytest.mark.skipif(not cores.PINNABLE, reason="this system cannot pin processes to cores")


def test_server_and_load_get_different_cores_where_there_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {2, 5, 7})
    assert cores.choose() == (2, 5)
    assert cores.choose(server=5) == (5, 2)
    assert cores.choose(load=2) == (5, 2)
    assert not cores.choose().shared


def test_a_lone_core_is_shared_and_known_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})
    assert cores.choose() == (0, 0)
    assert cores.choose().shared


def test_a_core_that_cannot_be_had_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    with pytest.raises(ValueError, match="core 9"):
        cores.choose(server=9)


def test_pinning_ends_with_its_block() -> None:
    before = os.sched_getaffinity(0)
    with cores.pinned(min(before)):
        assert os.sched_getaffinity(0) == {min(before)}
    assert os.sched_getaffinity(0) == before
