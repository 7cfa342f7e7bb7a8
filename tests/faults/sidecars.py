"""Whole sidecars in processes of their own, and clients that put them under load."""

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import grpc
import psutil

from sidecar.service_config import CHANNEL_OPTIONS, SERVICE_CONFIG
from sidecar.wire import bundle_pb2, bundle_pb2_grpc, router_pb2_grpc
from sidecar.wire import router_pb2 as pb

PLAIN = "what is the capital of a small country"
PATIENCE_S = 60.0
# Connects as CHANNEL_OPTIONS say, and never sends a request twice.
NO_RETRIES = [option for option in CHANNEL_OPTIONS if option[1] != SERVICE_CONFIG] + [("grpc.enable_retries", 0)]
START = [sys.executable, "-m", "sidecar.cli", "serve"]


def until(found: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """Looks again and again; gives the first answer that is true."""
    end = time.monotonic() + patience_s
    look_again = threading.Event()
    while not (answer := found()):
        assert time.monotonic() < end, "it did not come to pass in time"
        look_again.wait(0.02)
    return answer


class Sidecar:
    """A running `router-sidecar serve`.

    Attributes:
        process: the supervisor.
        address: where it listens.
        lines: what it wrote to standard error.
    """

    def __init__(self, config: Path, *options: str) -> None:
        self.config = config
        self.lines: list[str] = []
        self._news = threading.Condition()
        self.process = subprocess.Popen(
            [*START, "--config", str(config), "--listen", "127.0.0.1:0", *options], stderr=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.address = self.said("listening on ").split()[2]
        self.channel = self.connect()
        self.route: Any = router_pb2_grpc.RouterServiceStub(self.channel)  # type: ignore[no-untyped-call]
        self.bundles: Any = bundle_pb2_grpc.BundleServiceStub(self.channel)  # type: ignore[no-untyped-call]

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        self.process.stderr.close()

    def said(self, words: str, since: int = 0, patience_s: float = PATIENCE_S) -> str:
        """The first line from number `since` on that holds these words; waits for it."""

        def found() -> str | None:
            return next((line for line in self.lines[since:] if words in line), None)

        with self._news:
            assert self._news.wait_for(lambda: found() is not None, patience_s), "\n".join(self.lines)
            return found() or ""

    def connect(self, options: Sequence[tuple[str, Any]] = CHANNEL_OPTIONS) -> grpc.Channel:
        """A connection that is shared with nobody."""
        return grpc.insecure_channel(self.address, options=[*options, ("grpc.use_local_subchannel_pool", 1)])

    def _children(self, module: str) -> list[psutil.Process]:
        try:
            children = psutil.Process(self.process.pid).children()
        except psutil.NoSuchProcess:
            return []
        found = []
        for child in children:
            try:
                if module in child.cmdline():
                    found.append(child)
            except psutil.Error:
                continue
        return found

    def workers(self) -> list[psutil.Process]:
        return self._children("sidecar.worker")

    def serving(self) -> "list[psutil.Process]":
        """The workers that listen."""
        found = []
        for worker in self.workers():
            try:
                if any(one.status == psutil.CONN_LISTEN for one in worker.net_connections(kind="tcp")):
                    found.append(worker)
            except psutil.Error:
                continue
        return found

    def control(self) -> psutil.Process:
        found: list[psutil.Process] = until(lambda: self._children("sidecar.control.process"))
        return found[0]

    def info(self) -> pb.InfoResponse:
        reply: pb.InfoResponse = self.route.Info(pb.InfoRequest(), timeout=PATIENCE_S, wait_for_ready=True)
        return reply

    def all_connected(self, workers: int) -> bool:
        """Whether the control process knows so many workers."""
        try:
            return self.list().state.workers == workers
        except grpc.RpcError:
            return False

    def list(self) -> bundle_pb2.ListBundlesResponse:
        request = bundle_pb2.ListBundlesRequest()
        reply: bundle_pb2.ListBundlesResponse = self.bundles.ListBundles(
            request, timeout=PATIENCE_S, wait_for_ready=True
        )
        return reply

    def activate(self, directory: str, **more: Any) -> bundle_pb2.ActivateBundleResponse:
        request = bundle_pb2.ActivateBundleRequest(directory=directory, **more)
        reply: bundle_pb2.ActivateBundleResponse = self.bundles.ActivateBundle(
            request, timeout=PATIENCE_S, wait_for_ready=True
        )
        return reply

    def version(self, text: str = PLAIN) -> str:
        """The version of the bundle that scored a request; empty if none did."""
        reply = self.route.Route(pb.RouteRequest(text=text), timeout=PATIENCE_S, wait_for_ready=True)
        return str(reply.bundle_version)

    def version_anywhere(self) -> str:
        """The same over a new connection, so from any of the workers."""
        with self.connect() as channel:
            stub: Any = router_pb2_grpc.RouterServiceStub(channel)  # type: ignore[no-untyped-call]
            reply = stub.Route(pb.RouteRequest(text=PLAIN), timeout=PATIENCE_S, wait_for_ready=True)
            return str(reply.bundle_version)

    def end(self, patience_s: float = PATIENCE_S) -> int:
        """What the supervisor's exit status is, once it is there."""
        status = self.process.wait(patience_s)
        self._reader.join(patience_s)
        return status

    def close(self) -> None:
        self.channel.close()
        family = psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else []
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(30)
        psutil.wait_procs(family, 10)
        self._reader.join(30)


class Call(NamedTuple):
    """One call of a client: when it began and ended, and what came of it."""

    began: float
    ended: float
    status: str
    version: str


class Load:
    """Clients that call Route one after the other, each over a connection of its own, until they are told to stop.

    Args:
        sidecar: whom they call.
        clients: how many.
        retries: whether they follow the retry policy that is shipped. Those that do not wait for a connection when they
            have none, so that what they see fail is what a worker had received.
        timeout_s: of each call.
    """

    def __init__(
        self,
        sidecar: Sidecar,
        clients: int = 3,
        *,
        retries: bool = True,
        timeout_s: float = 20.0,
    ) -> None:
        self.calls: list[Call] = []
        self._sidecar = sidecar
        self._retries = retries
        self._timeout_s = timeout_s
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.more(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def _work(self, number: int) -> None:
        with self._sidecar.connect(CHANNEL_OPTIONS if self._retries else NO_RETRIES) as channel:
            stub: Any = router_pb2_grpc.RouterServiceStub(channel)  # type: ignore[no-untyped-call]
            while not self._stop.is_set():
                began = time.monotonic()
                try:
                    reply = stub.Route(
                        pb.RouteRequest(text=PLAIN, session_id=f"{number}-{len(self.calls)}"),
                        timeout=self._timeout_s,
                        wait_for_ready=not self._retries,
                    )
                    status, version = "OK", reply.bundle_version
                except grpc.RpcError as error:
                    status, version = f"{error.code().name}: {error.details()}", ""
                self.calls.append(Call(began, time.monotonic(), status, version))

    def more(self, amount: int = 50) -> None:
        """Waits until so many calls more are through."""
        target = len(self.calls) + amount
        until(lambda: len(self.calls) >= target)

    @property
    def failed(self) -> Counter[str]:
        """What did not succeed."""
        return Counter(call.status for call in self.calls if call.status != "OK")
