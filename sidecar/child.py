"""One process that the supervisor keeps alive: started again when it dies, sooner or later as it died late or soon."""

import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from sidecar.errors import ConfigError

log = logging.getLogger(__name__)

# A process that lived for so long before it died is started again at once.
STEADY_S = 1.0
FIRST_DELAY_S, MOST_DELAY_S = 0.05, 15.0
# Loading a large bundle may take long; what takes longer is stuck.
READY_S = 120.0


class Child:
    """One process that is kept alive.

    Args:
        name: for the log.
        arguments: of the Python interpreter. It tells on its standard output, in one line of JSON, that it is ready.
        alone: whether two of it would be in each other's way.
        descriptors: which it inherits, under the same numbers.
        serves: is told the id of the process that serves, whenever it is another one, and None when none does any more:
            from its death, or from when it is told to end, until the next one is ready.

    Attributes:
        status: what it told when it was ready.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        alone: bool = False,
        descriptors: Sequence[int] = (),
        serves: Callable[[int | None], None] = lambda _process: None,
    ) -> None:
        self.name = name
        self.status: dict[str, str] = {}
        self._descriptors = descriptors
        self._serves = serves
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
        self._serves(self._process.pid)

    async def keep(self) -> None:
        """Starts it again whenever it ends, until it is stopped."""
        delay_s = FIRST_DELAY_S
        while not self._stopping:
            process, began = self._process, time.monotonic()
            assert process is not None  # noqa: S101 - start comes first
            code = await process.wait()
            if process is self._process:
                self._serves(None)
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
                self._serves(successor.pid)
                return
            successor = await self._spawn()
            try:
                self.status = self._no_worse(await self._ready(successor))
            except BaseException:
                _signal(successor, signal.SIGKILL)
                await successor.wait()
                raise
            self._retiring, self._process = self._process, successor
            self._serves(successor.pid)
            await self._retire(patience_s)

    def resign(self) -> None:
        """From now on it is not started again."""
        self._stopping = True

    async def stop(self, patience_s: float) -> None:
        """Ends it in good order; returns when it has ended, or after patience_s seconds."""
        self.resign()
        self._serves(None)
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
            self._serves(process.pid)
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
            pass_fds=self._descriptors,
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


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    # Not process.send_signal: it may reap a child that has just ended, and whoever waits for it then learns nothing.
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _ended(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
