"""What a peer is: another server that does the same job, in an environment of its own."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Protocol

from benchmarks.cores import pinned
from benchmarks.h2load import Shot

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = ROOT / ".venv-peers"
SERVING = Path(__file__).resolve().parent / "serving"
# What the job itself needs; the same versions as here, so that nobody wins by a newer runtime.
JOB_PACKAGES = ("onnxruntime", "tokenizers")
INSTALL_S, START_S, STOP_S, POLL_S = 900.0, 90.0, 20.0, 0.1


class PeerFault(RuntimeError):
    """A peer could not be installed, started or asked; the message says why."""


class Peer(Protocol):
    """One server that can be measured.

    Attributes:
        name: for the table.
        note: what a fair reader must know.
        items: prompts of one call.
    """

    name: str
    note: str
    items: int

    def install(self) -> None:
        """Makes its environment, unless it is there.

        Raises:
            PeerFault: it cannot be installed.
        """
        ...

    def start(self, bundle: Path, core: int | None) -> None:
        """Starts it on a core and waits until it answers.

        Raises:
            PeerFault: it does not.
        """
        ...

    def stop(self) -> None:
        """Ends it and all its processes."""
        ...

    def shot(self, text: str) -> Shot:
        """What h2load is to send to the running server."""
        ...

    def ask(self, text: str) -> bytes:
        """Makes one real call.

        Raises:
            PeerFault: the answer is an error.
        """
        ...

    def connections(self, in_flight: int) -> int:
        """How many connections carry so many calls."""
        ...


class Environment:
    """A virtual environment with pinned packages, made on demand.

    Args:
        name: of its directory.
        packages: what pip is to install.
    """

    def __init__(self, name: str, packages: Sequence[str]) -> None:
        self._directory = ENVIRONMENTS / name
        self._packages = (*packages, *map(_as_here, JOB_PACKAGES))
        self._stamp = self._directory / "installed.txt"

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self._directory / "bin" / "python"

    def install(self) -> None:
        """Makes it, unless it was made for the same packages.

        Raises:
            PeerFault: pip failed; the message holds the end of what it said.
        """
        wanted = "\n".join(self._packages)
        if self._stamp.is_file() and self._stamp.read_text(encoding="utf-8") == wanted:
            return
        for command in (
            [sys.executable, "-m", "venv", str(self._directory)],
            [str(self.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *self._packages],
        ):
            try:
                got = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
            except subprocess.TimeoutExpired:
                raise PeerFault(f"installing {', '.join(self._packages)} took over {INSTALL_S:.0f} s.") from None
            if got.returncode:
                lines = [line for line in got.stderr.splitlines() if "ERROR" in line] or got.stderr.splitlines()
                raise PeerFault(f"pip cannot install {', '.join(self._packages)}: {' | '.join(lines[-3:])}")
        self._stamp.write_text(wanted, encoding="utf-8")


class Program:
    """A running program of a peer and all processes that it starts."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._log: Path | None = None

    def start(self, command: Sequence[str], core: int | None, environment: Mapping[str, str] | None = None) -> None:
        """Starts it on a core, in a group of its own."""
        self.stop()
        handle, name = tempfile.mkstemp(prefix="peer-", suffix=".log")
        self._log = Path(name)
        try:
            with pinned(core):
                self._process = subprocess.Popen(
                    command,
                    stdout=handle,
                    stderr=subprocess.STDOUT,
                    cwd=SERVING,
                    env={**os.environ, "TOKENIZERS_PARALLELISM": "false", **(environment or {})},
                    start_new_session=True,
                )
        finally:
            os.close(handle)

    def await_answer(self, ask: Callable[[], object]) -> None:
        """Waits until a call succeeds.

        Raises:
            PeerFault: the program ended, or none succeeds in time; the message holds the end of its output.
        """
        assert self._process is not None  # noqa: S101 - start comes first
        until = time.perf_counter() + START_S
        last = ""
        while time.perf_counter() < until:
            if self._process.poll() is not None:
                raise PeerFault(f"it ended with status {self._process.returncode}: {self.output()}")
            try:
                ask()
            except (OSError, RuntimeError) as error:
                last = str(error)
                time.sleep(POLL_S)
            else:
                return
        raise PeerFault(f"it does not answer ({last}): {self.output()}")

    def output(self) -> str:
        """The last lines that it wrote."""
        if self._log is None or not self._log.is_file():
            return ""
        return " | ".join(
            line for line in self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:] if line.strip()
        )

    def stop(self) -> None:
        """Ends it, first kindly, then not, with every process of its group."""
        if self._process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(STOP_S)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        self._process.wait()
        self._process = None
        if self._log is not None:
            self._log.unlink(missing_ok=True)


def free_port() -> int:
    """A port of the loopback that nobody uses now, nor the one after it."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


def request_bytes(python: Path, program: str, text: str) -> bytes:
    """A serialised request, made in the peer's environment by the peer's own protobuf code.

    Raises:
        PeerFault: it could not be made.
    """
    command = [str(python), program, "--request", text]
    got = subprocess.run(command, cwd=SERVING, capture_output=True, check=False, timeout=60)
    if got.returncode or not got.stdout:
        raise PeerFault(f"{program} --request failed: {got.stderr.decode(errors='replace').strip()[-300:]}")
    return got.stdout


def _as_here(package: str) -> str:
    try:
        return f"{package}=={metadata.version(package)}"
    except metadata.PackageNotFoundError:  # onnxruntime has another name where it was built for a GPU
        return package
