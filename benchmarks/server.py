"""Starts a server on its core, knows when it serves, what it weighs, and how to end it."""

import compileall
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.cores import pinned

ROOT = Path(__file__).resolve().parent.parent
LISTENING = re.compile(r"listening on (\S+:\d+)")
PATIENCE_S = 60.0
STOP_S = 20.0
RPC_S = 5.0
WORKER = "sidecar.worker"


class ServerFault(RuntimeError):
    """A server did not start; the message holds the end of its output."""


class Server:
    """A server process. Ends with the `with` block.

    Args:
        command: prints a line `listening on HOST:PORT`.
        core: where it runs; None leaves it to the system.
        kept_lines: how much of the end of its output is kept.
        root: the checkout whose code it runs.
        authority: PEM; it serves over TLS with a certificate of this authority.

    Attributes:
        address: HOST:PORT.
        listening_s: seconds from the start of the process to that line.
        serving_s: seconds from the start of the process to the first health check that says SERVING.

    Raises:
        ServerFault: it ended, or did not serve within a minute.
    """

    def __init__(
        self,
        command: Sequence[str],
        core: int | None,
        kept_lines: int = 15,
        *,
        root: Path = ROOT,
        authority: bytes | None = None,
    ) -> None:
        self._authority = authority
        self._tail: deque[str] = deque(maxlen=kept_lines)
        self._address = ""
        self._heard = threading.Event()
        with pinned(core):
            begun = time.perf_counter()
            self._process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=root,
                env={**os.environ, "PYTHONPATH": str(root)},
            )
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()
        try:
            self.address = self._await_address(" ".join(command))
            self.listening_s = time.perf_counter() - begun
            self._await_health()
            self.serving_s = time.perf_counter() - begun
        except BaseException:
            self.stop()
            raise
        self.watched = psutil.Process(self._process.pid)
        self._seat(core)

    def _listen(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - asked for above
        for line in self._process.stdout:
            self._tail.append(line.strip())
            if not self._address and (match := LISTENING.search(line)):
                self._address = match.group(1)
                self._heard.set()
        self._heard.set()

    def _await_address(self, command: str) -> str:
        if not self._heard.wait(PATIENCE_S) or not self._address:
            raise ServerFault(f"{command} did not start: {' | '.join(self._tail) or 'no output'}")
        return self._address

    def _await_health(self) -> None:
        until = time.perf_counter() + PATIENCE_S
        with self._channel() as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            while True:
                try:
                    reply = stub.Check(health_pb2.HealthCheckRequest(), timeout=RPC_S, wait_for_ready=True)
                    if reply.status == health_pb2.HealthCheckResponse.SERVING:
                        return
                except grpc.RpcError as error:
                    if error.code() is not grpc.StatusCode.UNAVAILABLE:
                        raise ServerFault(f"health of {self.address}: {error.code().name}") from None
                if time.perf_counter() > until:
                    raise ServerFault(f"{self.address} listens, but health never said SERVING.")
                time.sleep(0.002)

    def _channel(self) -> grpc.Channel:
        if self._authority is None:
            return grpc.insecure_channel(self.address)
        return grpc.secure_channel(self.address, grpc.ssl_channel_credentials(self._authority))

    def _seat(self, core: int | None) -> None:
        """Leaves the core to the workers: supervisor and control process have another one in real life too."""
        workers = self.workers()
        if core is None or not workers:
            return
        elsewhere = sorted(set(range(psutil.cpu_count() or 1)) - {core}) or [core]
        for process in [self.watched, *self.watched.children(recursive=True)]:
            if process not in workers:
                for thread in process.threads():  # what a thread starts runs where that thread may
                    os.sched_setaffinity(thread.id, elsewhere)

    def workers(self) -> list[psutil.Process]:
        """The processes that serve, if this server has such."""
        family = self.watched.children(recursive=True)
        return [process for process in family if WORKER in process.cmdline()]

    def output(self) -> list[str]:
        """The last lines that it printed."""
        return list(self._tail)

    def resident_mb(self) -> float:
        """Resident memory in MB (10**6 bytes): of the workers on average, or of a server that has none."""
        family = self.workers() or [self.watched, *self.watched.children(recursive=True)]
        return sum(process.memory_info().rss for process in family) / 1e6 / (len(self.workers()) or 1)

    def overhead_mb(self) -> float:
        """Resident memory in MB (10**6 bytes) of all processes that do not serve."""
        workers = self.workers()
        family = [self.watched, *self.watched.children(recursive=True)]
        return sum(process.memory_info().rss for process in family if process not in workers) / 1e6

    def cpu_s(self) -> float:
        """Seconds of processor time used so far, children included."""
        family = [self.watched, *self.watched.children(recursive=True)]
        return sum(sum(process.cpu_times()[:2]) for process in family)

    def stop(self) -> int:
        """Ends the process as an operator would; gives its exit status."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._reader.join(STOP_S)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


# For who sends one prompt over and over: without a score cache.
UNCACHED = ROOT / "benchmarks" / "uncached.toml"


def sidecar_command(bundle: Path | None, transport: str = "http2", config: Path | None = None) -> list[str]:
    """The command line of a sidecar on a free port of the loopback."""
    _compile()
    command = [sys.executable, "-m", "sidecar.cli", "serve", "--listen", "127.0.0.1:0", "--transport", transport]
    if config:
        command += ["--config", str(config.resolve())]
    return [*command, "--bundle", str(bundle.resolve())] if bundle else command


@cache
def _compile() -> None:
    """Leaves bytecode beside the sources, as pip does where it installs.

    A checkout may have none (PYTHONDONTWRITEBYTECODE), and then each start compiles all modules in each process.
    """
    compileall.compile_dir(ROOT / "sidecar", quiet=2)
