import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.errors import ConfigError
from sidecar.host import cores, reserve

PATIENCE_S = 30.0


@pytest.fixture
def taken() -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_a_port_that_somebody_listens_on_is_refused(taken: str) -> None:
    with pytest.raises(ConfigError, match=f"cannot bind '{taken}': Address already in use"):
        reserve(taken)


def test_a_port_that_another_sidecar_holds_is_refused() -> None:
    held, address = reserve("127.0.0.1:0")
    with held, pytest.raises(ConfigError, match="Address already in use"):
        reserve(address)


def test_a_reserved_port_is_for_those_who_share_it() -> None:
    held, address = reserve("127.0.0.1:0")
    host, port = address.split(":")
    with held, socket.socket() as worker, socket.socket() as stranger:
        with pytest.raises(OSError, match="in use"):
            stranger.bind((host, int(port)))
        worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        worker.bind((host, int(port)))
        worker.listen()
        with socket.create_connection((host, int(port)), timeout=PATIENCE_S):
            pass


@pytest.mark.parametrize("listen", ["nowhere.invalid:1", "192.0.2.1:0"])
def test_an_address_that_is_not_ours_is_refused(listen: str) -> None:
    with pytest.raises(ConfigError, match="listen: cannot bind"):
        reserve(listen)


@pytest.mark.parametrize(("quota", "found"), [("max 100000", 4), ("150000 100000", 2), ("50000 100000", 1), ("?", 4)])
def test_cores_are_those_that_may_be_used(monkeypatch: pytest.MonkeyPatch, quota: str, found: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2, 3})
    monkeypatch.setattr(Path, "read_text", lambda _self, **_: quota)
    assert cores() == found
