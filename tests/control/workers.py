"""Workers that do as they are told, over real Unix sockets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from sidecar.control import frames
from sidecar.control.frames import LinkBroken
from sidecar.control.messages import Done, Happened, Hello, Prepare, Run, Sample, State, Switch, ToWorker
from sidecar.control.workers import Workers

DECODER: "msgspec.msgpack.Decoder[Any]" = msgspec.msgpack.Decoder(ToWorker)
PATIENCE_S = 30.0
Command = Prepare | Switch | Sample


class FakeWorker:
    """One worker at the other end of a socket.

    Attributes:
        pid: a made-up one, that no process has.
        state: what it runs.
        loaded: digests of what it has in memory.
        commands: what it was told, in order.
        events: what it heard of.
        told: everything else.
        on: what it does instead of what a good worker would, by kind of command; may be a coroutine.
    """

    def __init__(self, number: int, state: State | None = None) -> None:
        self.number = number
        self.pid = (1 << 22) + 1000 + number
        self.state = state or State()
        self.loaded: set[str] = set()
        self.commands: list[Command] = []
        self.events: list[Happened] = []
        self.told: list[Any] = []
        self.on: dict[type, Callable[[Any], Done | Awaitable[Done | None] | None]] = {}
        self._news = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    async def connect(self, path: Path) -> "FakeWorker":
        """Says hello, and takes over what it is told to run unless it runs something."""
        self._reader, self._writer = await asyncio.open_unix_connection(path)
        self.send(Hello(self.number, self.pid, self.state))
        run: Run = await asyncio.wait_for(frames.read(self._reader, DECODER), PATIENCE_S)
        self.greeting = run.state
        if self.state.running is None:
            self._run(run.state)
        self._task = asyncio.get_running_loop().create_task(self._serve())
        return self

    def send(self, message: Any) -> None:
        self._writer.write(frames.encode(message))

    def die(self) -> None:
        self._writer.close()

    async def end(self) -> None:
        """Returns when all of it is gone."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()
        if self._task is not None:
            await self._task

    async def until(self, found: Callable[[], Any]) -> Any:
        """Waits until something that it hears makes this true."""
        async with self._news:
            await asyncio.wait_for(self._news.wait_for(found), PATIENCE_S)
        return found()

    async def heard(self) -> list[Happened]:
        """The events, once there are any."""
        await self.until(lambda: self.events)
        return self.events

    async def was_told(self) -> list[Any]:
        """What else it was told, once there is anything."""
        await self.until(lambda: self.told)
        return self.told

    def kinds(self) -> list[str]:
        return [type(command).__name__ for command in self.commands]

    def _run(self, state: State) -> None:
        self.state = state
        self.loaded = {target.digest for target in (state.running, state.previous, state.canary) if target}

    async def _serve(self) -> None:
        try:
            while True:
                message = await frames.read(self._reader, DECODER)
                if isinstance(message, Prepare | Switch | Sample):
                    self.commands.append(message)
                    done = self.on.get(type(message), self._obey)(message)
                    if isinstance(done, Awaitable):
                        done = await done
                    if done is not None:
                        self.send(done)
                elif isinstance(message, Happened):
                    self.events.append(message)
                else:
                    self.told.append(message)
                async with self._news:
                    self._news.notify_all()
        except LinkBroken:
            self._writer.close()

    def _obey(self, command: Command) -> Done:
        if isinstance(command, Prepare):
            self.loaded.add(command.target.digest)
        elif isinstance(command, Switch):
            wanted = {target.digest for target in (command.state.running, command.state.canary) if target}
            if not wanted <= self.loaded:
                return Done(command.id, "is not prepared", self.state)
            self._run(command.state)
        return Done(command.id, "", self.state)


@asynccontextmanager
async def served(workers: Workers, directory: Path, fakes: list[FakeWorker]) -> AsyncIterator[Path]:
    """Lets workers connect to a path; ends them all."""
    path = directory / "control.sock"
    server = await asyncio.start_unix_server(workers.serve, path)
    yield path
    for fake in fakes:
        await fake.end()
    while len(workers):  # noqa: ASYNC110 - it notices by itself
        await asyncio.sleep(0.001)
    server.close()
    await server.wait_closed()
    await asyncio.sleep(0.01)  # what is closed is really closed one turn later
