"""A Valkey or Redis server of the test's own, on a Unix socket; tests are skipped where none is installed."""

import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Self

import pytest
import redis

PROGRAM = shutil.which("valkey-server") or shutil.which("redis-server")
PATIENCE_S = 20.0

needs_server = pytest.mark.skipif(PROGRAM is None, reason="neither valkey-server nor redis-server is installed")


class DidNotStart(Exception):
    """The server ended at once; the message is what it said."""


class RealServer:
    def __init__(self, directory: Path, password: str = "", *, arguments: tuple[str, ...] = ()) -> None:
        self.socket = directory / "s"  # a socket's path is short
        self.password = password
        self.directory = directory
        self.arguments = arguments
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> None:
        assert PROGRAM is not None
        told = ["--port", "0", "--unixsocket", str(self.socket), "--save", "", "--appendonly", "no"]
        if self.password:
            told += ["--requirepass", self.password]
        said = self.directory / "said"
        with said.open("wb") as file:
            command = [PROGRAM, *told, *self.arguments]
            self.process = subprocess.Popen(command, cwd=self.directory, stdout=file, stderr=file)
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                with self.client() as client:
                    client.ping()
                break
            except redis.RedisError:
                if self.process.poll() is not None:
                    raise DidNotStart(said.read_text()) from None
                assert time.monotonic() < end, "the server did not start"

    def client(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.socket), password=self.password or None)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(PATIENCE_S)
            self.process = None
            self.socket.unlink(missing_ok=True)

    def hang(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)
