"""Keeps the processes of a sidecar alive: one control process, workers that share one port, and an observer if need be.

This process does nothing else, so that there is little in it that could fail. It starts a worker again when it dies,
sooner or later as it died late or soon; replaces workers one by one on SIGHUP, each new one serving before the old one
ends; and ends all in good order on SIGTERM. When it is gone itself, the workers answer what they have and end too, so
that whoever starts the next one finds the port free.
"""

import asyncio
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from sidecar.config import Config
from sidecar.control import CONFIG
from sidecar.errors import ConfigError
from sidecar.host import cores, reserve
from sidecar.ledger.lock import DirectoryLock
from sidecar.sensing import Shared

log = logging.getLogger(__name__)

# A process that lived for so long before it died is started again at once.
STEADY_S = 1.0
FIRST_DELAY_S, MOST_DELAY_S = 0.05, 15.0
# Loading a large bundle may take long; what takes longer is stuck.
READY_S = 120.0
# What a worker may take beyond drain_seconds, before it is killed.
GRACE_S = 5.0


class Child:
    """One process that is kept alive.

    Args:
        name: for the log.
        arguments: of the Python interpreter. It tells on its standard output, in one line of JSON, that it is ready.
        alone: whether two of it would be in each other's way.

    Attributes:
        status: what it told when it was ready.
    """

    def __init__(self, name: str, arguments: Sequence[str], *, alone: bool = False) -> None:
        self.name = name
        self.status: dict[str, str] = {}
        self._arguments = arguments
        self._alone = alone
        self._process: asyncio.subprocess.Process | None = None
        self._retiring: asyncio.subprocess.Process | None = None
        self._changing = asyncio.Lock()
        self._stopping = False

    async def start(self) -> None:
        """Starts it and waits until it is ready.

        Raises:
            ConfigError: it says that it cannot serve, or ended before it did.
        """
        self._process = await self._spawn()
        self.status = await self._ready(self._process)

    async def keep(self) -> None:
        """Starts it again whenever it ends, until it is stopped."""
        delay_s = FIRST_DELAY_S
        while not self._stopping:
            process, began = self._process, time.monotonic()
            assert process is not None  # noqa: S101 - start comes first
            code = await process.wait()
            async with self._changing:
                if process is not self._process:
                    continue  # it was replaced
            if self._stopping:
                return
            steady = time.monotonic() - began >= STEADY_S
            delay_s = FIRST_DELAY_S if steady else min(2 * delay_s, MOST_DELAY_S)
            await asyncio.sleep(delay_s)
            async with self._changing:
                if self._stopping:  # whoever ends the sidecar may send the signal to all of its processes
                    return
                if process is self._process:
                    log.warning(
                        "%s (%d) %s and is started again, after %.2f s", self.name, process.pid, _ended(code), delay_s
                    )
                    await self._start_again()

    async def replace(self, patience_s: float) -> None:
        """Starts another in its place, and ends it when that one is ready, or before; returns when it has ended.

        Args:
            patience_s: it is killed if it takes longer than that to end.

        Raises:
            ConfigError: the other one cannot serve, or could not score where this one can; this one goes on.
        """
        async with self._changing:
            if self._alone:
                self._retiring = self._process
                await self._retire(patience_s)
                self._process = successor = await self._spawn()
                self.status = await self._ready(successor)
                return
            successor = await self._spawn()
            try:
                self.status = self._no_worse(await self._ready(successor))
            except BaseException:
                _signal(successor, signal.SIGKILL)
                await successor.wait()
                raise
            self._retiring, self._process = self._process, successor
            await self._retire(patience_s)

    def resign(self) -> None:
        """From now on it is not started again."""
        self._stopping = True

    async def stop(self, patience_s: float) -> None:
        """Ends it in good order; returns when it has ended, or after patience_s seconds."""
        self.resign()
        alive = [process for process in (self._process, self._retiring) if process is not None]
        for process in alive:
            _signal(process, signal.SIGTERM)
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*(process.wait() for process in alive)), patience_s)

    async def kill(self) -> None:
        """Ends it at once."""
        self.resign()
        for process in (self._process, self._retiring):
            if process is not None:
                _signal(process, signal.SIGKILL)
                await process.wait()

    def _no_worse(self, told: dict[str, str]) -> dict[str, str]:
        if told.get("fault") and not self.status.get("fault"):
            raise ConfigError(f"{told['fault']} ({self.name} would answer DEGRADED)")
        return told

    async def _retire(self, patience_s: float) -> None:
        old = self._retiring
        if old is None:
            return
        _signal(old, signal.SIGTERM)
        try:
            async with asyncio.timeout(patience_s):
                await old.wait()
        except TimeoutError:
            _signal(old, signal.SIGKILL)
            await old.wait()
        self._retiring = None

    async def _start_again(self) -> None:
        self._process = process = await self._spawn()
        if self._stopping:  # too late
            _signal(process, signal.SIGKILL)
            return
        try:
            self.status = await self._ready(process)
        except ConfigError as error:
            log.error("%s: %s", self.name, error)  # noqa: TRY400 - all is said

    async def _spawn(self) -> asyncio.subprocess.Process:
        # Its standard input stays open as long as we live: that is how it learns that we do not.
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *self._arguments,
            stdin=asyncio.subprocess.PIPE,
            env={"GRPC_VERBOSITY": "NONE", **os.environ},  # its core logs a line for whatever a stranger sends
            stdout=asyncio.subprocess.PIPE,
        )

    async def _ready(self, process: asyncio.subprocess.Process) -> dict[str, str]:
        assert process.stdout is not None  # noqa: S101 - asked for
        try:
            async with asyncio.timeout(READY_S):  # wait_for of Python 3.11 may swallow that we are cancelled
                line = await process.stdout.readline()
        except TimeoutError:
            _signal(process, signal.SIGKILL)
            raise ConfigError(f"{self.name} was not ready within {READY_S:g} s.") from None
        try:
            told: dict[str, str] = json.loads(line)
        except ValueError:
            raise ConfigError(f"{self.name} ended before it could serve; its log says more.") from None
        if "error" in told:
            raise ConfigError(told["error"])
        return told


class Supervisor:
    """A sidecar: its processes, from the first start to the last end.

    Args:
        config: checked.
        first: directory of the bundle to run where the registry names none.
        say: tells the operator what matters.
        again: reads the configuration anew, for SIGHUP.
    """

    def __init__(
        self, config: Config, first: Path, say: Callable[[str], None], again: Callable[[], Config] | None = None
    ) -> None:
        self._config = config
        self._first = first
        self._say = say
        self._again = again
        self._runtime = Path()
        self._workers: list[Child] = []
        self._control = Child("control", (), alone=True)
        self._observer: Child | None = None
        self._shared: Shared | None = None
        self._lock: DirectoryLock | None = None
        self._tasks: list[asyncio.Task[Any]] = []

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT.

        Raises:
            ConfigError: it cannot serve.
        """
        reserved, listen = reserve(self._config.listen)
        # Short, since the path of a Unix socket may have 107 bytes only.
        self._runtime = Path(tempfile.mkdtemp(prefix="router-"))
        try:
            if directory := self._config.ledger.directory:
                self._lock = DirectoryLock(Path(directory))
            self._write(self._config)
            await self._serve(listen)
        finally:
            reserved.close()
            if self._lock is not None:
                self._lock.close()
            if self._shared is not None:
                self._shared.close()
            shutil.rmtree(self._runtime, ignore_errors=True)

    def _write(self, config: Config) -> None:
        # At once and whole, since a process may be starting just now.
        new = self._runtime / f"{CONFIG}.new"
        new.touch(mode=0o600)
        new.write_bytes(msgspec.json.encode(config))
        new.replace(self._runtime / CONFIG)

    async def _serve(self, listen: str) -> None:
        loop = asyncio.get_running_loop()
        stop, roll = asyncio.Event(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, roll.set)
        runtime = str(self._runtime)
        self._control = Child("control", ("-m", "sidecar.control.process", runtime, str(self._first)), alone=True)
        count = self._config.workers or max(1, cores() - 1)
        self._shared = Shared(self._config, count, self._runtime)
        self._workers = [
            Child(f"worker {number}", ("-m", "sidecar.worker", str(number), runtime, listen)) for number in range(count)
        ]
        if self._config.observes():
            self._observer = self._new_observer()
        children = self._children()
        starting = asyncio.gather(*(child.start() for child in children))
        stopping = loop.create_task(stop.wait())
        try:
            await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not stop.is_set():
                await starting  # raises what a child said
                self._tasks = [loop.create_task(child.keep()) for child in children]
                self._tell(listen)
                await self._until(stop, roll, stopping)
        finally:
            starting.cancel()
            stopping.cancel()
            with suppress(asyncio.CancelledError, ConfigError):
                await starting
            await self._end()
            await asyncio.gather(*self._tasks)

    def _children(self) -> list[Child]:
        """The workers first: they are the ones who find fault with a configuration."""
        return [*self._workers, self._control, *([self._observer] if self._observer else [])]

    def _new_observer(self) -> Child:
        # Two would write into the same rows of the fleet table.
        return Child("observer", ("-m", "sidecar.observer", str(self._runtime)), alone=True)

    def _tell(self, listen: str) -> None:
        told = self._workers[0].status
        running = f"bundle {told['running']}" if told["running"] else "no bundle"
        many = f"{len(self._workers)} workers, " if len(self._workers) > 1 else ""
        self._say(f"listening on {listen} ({many}{told['lane']} lane, {running})")

    async def _until(self, stop: asyncio.Event, roll: asyncio.Event, stopping: "asyncio.Task[Any]") -> None:
        while not stop.is_set():
            rolling = asyncio.ensure_future(self._roll_when(roll))
            await asyncio.wait((rolling, stopping), return_when=asyncio.FIRST_COMPLETED)
            rolling.cancel()
            with suppress(asyncio.CancelledError):
                await rolling

    async def _roll_when(self, roll: asyncio.Event) -> None:
        await roll.wait()
        roll.clear()
        await self._roll()

    async def _roll(self) -> None:
        """Replaces all processes, one by one, with the configuration as it is now; or none of them."""
        before = config = self._config
        patience_s = before.drain_seconds + GRACE_S
        replaced: list[Child] = []
        try:
            if self._again:
                config = self._again()
            if _fixed(config) != _fixed(before):
                log.warning("listen, workers, bundle and ledger.directory are not changed by SIGHUP; restart for these")
            ledger = msgspec.structs.replace(config.ledger, directory=before.ledger.directory)
            config = msgspec.structs.replace(
                config, listen=before.listen, workers=before.workers, bundle=before.bundle, ledger=ledger
            ).checked()
            self._write(config)
            for child in self._children():
                await child.replace(patience_s)
                replaced.append(child)
            await self._follow(config, patience_s)
        except ConfigError as error:
            log.error("SIGHUP: %s; what ran before runs on", error)  # noqa: TRY400 - all is said
            self._write(before)
            for child in replaced:
                await _put_back(child, config.drain_seconds + GRACE_S)
        else:
            self._config = config
            log.info("SIGHUP: all processes are replaced")

    async def _follow(self, config: Config, patience_s: float) -> None:
        """Starts or ends the observer as the configuration has now something for it to do, or no longer has.

        Raises:
            ConfigError: it cannot do it.
        """
        if config.observes() and self._observer is None:
            observer = self._new_observer()
            try:
                await observer.start()
            except BaseException:
                await observer.kill()
                raise
            self._observer = observer
            self._tasks.append(asyncio.get_running_loop().create_task(observer.keep()))
        elif self._observer is not None and not config.observes():
            observer, self._observer = self._observer, None
            await observer.stop(patience_s)
            await observer.kill()

    async def _end(self) -> None:
        """Ends the workers one after the other, so that calls find another one as long as there is one."""
        for child in self._children():
            child.resign()
        whole = self._config.drain_seconds + GRACE_S
        end = time.monotonic() + whole
        for worker in self._workers:
            await worker.stop(whole / len(self._workers))
        for child in self._children()[len(self._workers) :]:
            await child.stop(0.0)
        for child in self._children():
            await child.stop(max(0.0, end - time.monotonic()))
            await child.kill()


def _fixed(config: Config) -> tuple[str, int, str, str]:
    return config.listen, config.workers, config.bundle, config.ledger.directory


async def _put_back(child: Child, patience_s: float) -> None:
    try:
        await child.replace(patience_s)
    except ConfigError as error:
        log.error("%s: %s; it runs on with the new configuration", child.name, error)  # noqa: TRY400 - all is said


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    # Not process.send_signal: it may reap a child that has just ended, and whoever waits for it then learns nothing.
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _ended(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
