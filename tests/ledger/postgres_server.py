"""A PostgreSQL of our own: in a temporary directory, on a Unix socket, as a user without rights."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.ledger.made import wait_until

# Debian keeps the server's programs off the PATH.
FOLDERS = (*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), Path("/usr/bin"), Path("/usr/local/bin"))


def programs() -> Path | None:
    """Where initdb and postgres are."""
    return next((folder for folder in FOLDERS if (folder / "initdb").exists() and (folder / "postgres").exists()), None)


@contextmanager
def running(folder: Path) -> Iterator["Server"]:
    """Starts a server, and removes it without a trace.

    Args:
        folder: of its programs.
    """
    # Not in tmp_path: its parents are closed to other users, and a socket's path must be short.
    directory = Path(tempfile.mkdtemp(prefix="ledger-pg-"))
    user = _user()
    if user is not None:
        shutil.chown(directory, user)
    server = Server(folder, directory, user)
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


class Server:
    """One cluster."""

    def __init__(self, folder: Path, directory: Path, user: str | None) -> None:
        self._folder, self._directory, self._user = folder, directory, user
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0

    def make(self) -> None:
        command: list[str | Path] = [
            self._folder / "initdb",
            "-D",
            self._data,
            "-U",
            "router",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
        ]
        subprocess.run(command, user=self._user, cwd="/", check=True, capture_output=True)

    def start(self) -> None:
        settings = (
            "listen_addresses=",
            "fsync=off",
            f"unix_socket_directories={self._directory}",
            "max_connections=20",
        )
        command: list[str | Path] = [
            self._folder / "postgres",
            "-D",
            self._data,
            *(part for each in settings for part in ("-c", each)),
        ]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(command, user=self._user, cwd="/", stdout=log, stderr=log)
        wait_until(self._answers)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
            self._process = None

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://router@/{database}?host={self._directory}"

    def database(self) -> str:
        """The URL of a new, empty database."""
        self._databases += 1
        fresh = f"ledger{self._databases}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {fresh}")
        return self.url(fresh)

    @property
    def _data(self) -> Path:
        return self._directory / "data"

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def _user() -> str | None:
    """The server refuses to run as root."""
    if os.geteuid():
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
