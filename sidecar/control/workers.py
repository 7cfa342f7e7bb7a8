"""The workers that are connected to the control process."""

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from itertools import count

import msgspec

from sidecar.control import frames
from sidecar.control.frames import LinkBroken
from sidecar.control.messages import (
    BEAT_S,
    Beat,
    Done,
    Happened,
    Hello,
    Operate,
    Others,
    Prepare,
    Result,
    Run,
    Sample,
    State,
    Switch,
    ToControl,
)
from sidecar.stats import Stats

log = logging.getLogger(__name__)

_decoder: "msgspec.msgpack.Decoder[ToControl]" = msgspec.msgpack.Decoder(ToControl)
_hello_decoder: "msgspec.msgpack.Decoder[Hello]" = msgspec.msgpack.Decoder(Hello)
_ids = count(1)
# A killed process closes its socket at once; this only keeps a bug elsewhere from holding us up.
GONE_S = 5.0
MakeCommand = Callable[[int], Prepare | Switch | Sample]  # given the command's id


class WorkerGone(Exception):
    """A worker did not carry out a command: it went away, or took too long."""


class Worker:
    """One connected worker.

    Attributes:
        number: of the worker, from 0.
        pid: of its process.
        state: what it runs, as last told.
        beat: the latest one.
        heard: when it last said anything, in seconds of the loop's clock.
    """

    def __init__(self, hello: Hello, writer: asyncio.StreamWriter, now: float) -> None:
        self.number = hello.worker
        self.pid = hello.pid
        self.state = hello.state
        self.beat = Beat(0.0, Stats())
        self.heard = now
        self._writer = writer
        self._pending: dict[int, asyncio.Future[Done]] = {}
        self._gone = asyncio.Event()

    def tell(self, message: Run | Result | Happened | Others | Prepare | Switch | Sample) -> None:
        """Sends a message; nothing happens if the worker is gone."""
        if not self._writer.is_closing():
            self._writer.write(frames.encode(message))

    async def ask(self, make: MakeCommand, patience_s: float) -> Done:
        """Has the worker carry out a command.

        Raises:
            WorkerGone: it ended meanwhile, or did not answer in time.
        """
        if self._gone.is_set():
            raise WorkerGone(f"worker {self.number} ended")
        number = next(_ids)
        self._pending[number] = answer = asyncio.get_running_loop().create_future()
        self.tell(make(number))
        try:
            done: Done = await asyncio.wait_for(answer, patience_s)
        except TimeoutError:
            raise WorkerGone(f"worker {self.number} did not answer within {patience_s:g} s") from None
        finally:
            del self._pending[number]
        if not done.error:
            self.state = done.state
        return done

    def answered(self, done: Done) -> None:
        """Takes the answer to a command."""
        if (waiting := self._pending.get(done.id)) and not waiting.done():
            waiting.set_result(done)

    def gone(self) -> None:
        """Nothing more will be heard of it."""
        self._gone.set()
        for waiting in self._pending.values():
            if not waiting.done():
                waiting.set_exception(WorkerGone(f"worker {self.number} ended"))

    async def kill(self) -> None:
        """Ends its process at once; the supervisor starts another. Returns when it is gone."""
        if self._gone.is_set():
            return  # its number may be another's by now
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._gone.wait(), GONE_S)


class Workers:
    """All connected workers.

    Args:
        greet: gives what a worker that has just connected is to run.
        operate: carries out what an operator asks; the result goes back to the worker that passed it on.
    """

    def __init__(self, greet: Callable[[Hello], State], operate: Callable[[Operate], Awaitable[Result]]) -> None:
        self._greet = greet
        self._operate = operate
        self._connected: dict[asyncio.StreamWriter, Worker] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._past = Stats()  # what ended workers served

    def __iter__(self) -> Iterator[Worker]:
        return iter(list(self._connected.values()))

    def __len__(self) -> int:
        return len(self._connected)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hears one worker until it is gone."""
        loop = asyncio.get_running_loop()
        worker: Worker | None = None
        try:
            hello: Hello = await frames.read(reader, _hello_decoder)
            worker = Worker(hello, writer, loop.time())
            worker.tell(Run(self._greet(hello)))
            self._connected[writer] = worker
            while True:
                message = await frames.read(reader, _decoder)
                worker.heard = loop.time()
                if isinstance(message, Beat):
                    worker.beat = message
                elif isinstance(message, Done):
                    worker.answered(message)
                elif isinstance(message, Operate):
                    task = loop.create_task(self._carry_out(worker, message))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
        except LinkBroken as broken:
            log.debug("%s", broken)
        finally:
            self._connected.pop(writer, None)
            if worker is not None:
                worker.gone()
                self._past += worker.beat.stats.past
            writer.close()

    async def _carry_out(self, worker: Worker, message: Operate) -> None:
        worker.tell(await self._operate(message))

    def tell_all(self, message: Happened) -> None:
        """Sends an event to all."""
        for worker in list(self._connected.values()):
            worker.tell(message)

    def share(self) -> Stats:
        """Tells each what the others served; gives what all served, those included that have ended."""
        everyone = list(self._connected.values())
        for worker in everyone:
            others = sum((other.beat.stats for other in everyone if other is not worker), self._past)
            worker.tell(Others(len(everyone), others))
        return sum((worker.beat.stats for worker in everyone), self._past)

    def stuck(self, most_s: float, now: float) -> list[Worker]:
        """Workers that are at one batch, or silent beyond a beat that is late, for longer than most_s seconds."""
        silent_since = now - most_s - 2 * BEAT_S
        return [
            worker for worker in self._connected.values() if worker.beat.stuck_s > most_s or worker.heard < silent_since
        ]
