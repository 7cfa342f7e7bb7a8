"""Keeps the processes of a sidecar alive: one control process, workers that share one port, and an observer if need be.

This process does nothing else, so that there is little in it that could fail. It starts a worker again when it dies,
sooner or later as it died late or soon; replaces workers one by one on SIGHUP, each new one serving before the old one
ends; and ends all in good order on SIGTERM. When it is gone itself, the workers answer what they have and end too, so
that whoever starts the next one finds the port free.
"""

import asyncio
import logging
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from sidecar.child import Child
from sidecar.config import Config
from sidecar.control import CONFIG
from sidecar.errors import ConfigError
from sidecar.fleet.regions import Shared
from sidecar.host import cores, reserve
from sidecar.ledger.lock import DirectoryLock
from sidecar.processes.listeners import Listeners, hands_down_listeners

log = logging.getLogger(__name__)

# What a worker may take beyond drain_seconds, before it is killed.
GRACE_S = 5.0


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
        self._listeners: Listeners | None = None
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
            await self._serve(listen, reserved)
        finally:
            if self._listeners is not None:
                await self._listeners.close()
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

    async def _serve(self, listen: str, reserved: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        stop, roll = asyncio.Event(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, roll.set)
        runtime = str(self._runtime)
        self._control = Child(
            "control", ("-m", "sidecar.start", "sidecar.control.process", runtime, str(self._first)), alone=True
        )
        count = self._config.workers or max(1, cores() - 1)
        self._shared = Shared(self._config, count, self._runtime)
        if hands_down_listeners(self._config):
            self._listeners = Listeners(reserved, count, self._runtime)
        self._workers = [self._new_worker(number, listen) for number in range(count)]
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

    def _new_worker(self, number: int, listen: str) -> Child:
        arguments = ("-m", "sidecar.start", "sidecar.worker", str(number), str(self._runtime), listen)
        listeners = self._listeners
        if listeners is None:
            return Child(f"worker {number}", arguments)
        return Child(
            f"worker {number}",
            (*arguments, *listeners.arguments(number)),
            descriptors=listeners.descriptors(number),
            serves=partial(listeners.serves, number),
        )

    def _new_observer(self) -> Child:
        # Two would write into the same rows of the fleet table.
        return Child("observer", ("-m", "sidecar.start", "sidecar.observer", str(self._runtime)), alone=True)

    def _tell(self, listen: str) -> None:
        told = self._workers[0].status
        running = f"bundle {told['running']}" if told["running"] else "no bundle"
        many = f"{len(self._workers)} workers, " if len(self._workers) > 1 else ""
        self._say(f"listening on {listen} ({many}{told['transport']}, {running})")

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
            _check_transport(before, config)
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
            if worker is self._workers[-1] and self._listeners is not None:
                await self._listeners.close()  # from now on clients are refused, rather than kept waiting for nothing
            await worker.stop(whole / len(self._workers))
        for child in self._children()[len(self._workers) :]:
            await child.stop(0.0)
        for child in self._children():
            await child.stop(max(0.0, end - time.monotonic()))
            await child.kill()


def _fixed(config: Config) -> tuple[str, int, str, str]:
    return config.listen, config.workers, config.bundle, config.ledger.directory


def _check_transport(before: Config, config: Config) -> None:
    if hands_down_listeners(config) != hands_down_listeners(before):
        raise ConfigError("transport: is not changed by SIGHUP; restart for it.")


async def _put_back(child: Child, patience_s: float) -> None:
    try:
        await child.replace(patience_s)
    except ConfigError as error:
        log.error("%s: %s; it runs on with the new configuration", child.name, error)  # noqa: TRY400 - all is said
