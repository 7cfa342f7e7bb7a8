"""The control process: knows the workers, changes their bundle, tells Prometheus. When it dies, Route goes on.

Started by the supervisor, and again by it whenever it ends; `python -m sidecar.control.process` is not for hands. Tells on
standard output, in one line of JSON, that it serves, or why it cannot.
"""

import asyncio
import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from sidecar import logs
from sidecar.bundle.registry import Registry
from sidecar.config import Config
from sidecar.control import CONFIG, CONFIG_FAULT, OBSERVER, SOCKET
from sidecar.control.incidents import Incidents
from sidecar.control.messages import Target
from sidecar.control.observed import Observed
from sidecar.control.standing import Standing
from sidecar.control.swap import Swap
from sidecar.errors import ConfigError, RouterError

if TYPE_CHECKING:
    from sidecar.control.fleet import FleetWatch

log = logging.getLogger(__name__)

TICK_S = 0.5
# By then the workers have started; what the watch imports would keep the processor from them.
WATCH_AFTER_S = 3.0


class Control:
    """The control process.

    Args:
        config: checked.
        first: directory of the bundle that runs where the registry names none.

    Attributes:
        metrics: how things stand, as /metrics tells it where there is one.
        fleet: where the fleet's load is seen; None: nowhere.
        watch: makes `fleet`, WATCH_AFTER_S after the first tick; None: there is nothing to be made.
    """

    def __init__(self, config: Config, first: Path) -> None:
        self._config = config
        self._registry = Registry(Path(config.registry)) if config.registry else None
        self.swap = Swap(config, self._registry, Target(str(self._first(first))))
        self.metrics = _standing(config)
        self.observed = Observed()
        self.fleet: FleetWatch | None = None
        self.watch: Callable[[], FleetWatch | None] | None = None
        self._incidents = Incidents([candidate.name for candidate in config.candidates])
        self._seen: tuple[int, ...] | None = None
        self._learning = False
        self._began: float | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def _first(self, otherwise: Path) -> Path:
        if self._registry is not None:
            try:
                if name := self._registry.active():
                    return self._registry.path(name)
            except RouterError as error:
                log.error("registry: %s; %s is run", error, otherwise)  # noqa: TRY400 - all is said
        return otherwise

    async def run(self, socket: Path, ready: Callable[[], None] = lambda: None) -> None:
        """Serves the workers and the observer until it is cancelled; says when it is ready to.

        Args:
            socket: where it hears the workers; it hears the observer beside that.
            ready: called when it does.
        """
        beside = socket.with_name(OBSERVER)
        for path in (socket, beside):
            path.unlink(missing_ok=True)  # before anything is served
        server = await asyncio.start_unix_server(self.swap.workers.serve, socket)
        observer = await asyncio.start_unix_server(self.observed.serve, beside)
        async with server, observer:
            ready()
            while True:
                await asyncio.sleep(TICK_S)
                await self.tick(asyncio.get_running_loop().time())

    async def tick(self, now: float) -> None:
        """What is to be done every half second."""
        workers = self.swap.workers
        self.metrics.stats = workers.share()
        self.metrics.workers = len(workers)
        self.metrics.state = self.swap.state
        self.metrics.swaps = self.swap.counts
        self.metrics.seen = self.observed.seen
        if self._began is None:
            self._began = now
        if self.watch is not None and now - self._began >= WATCH_AFTER_S:
            self.fleet, self.watch = self.watch(), None
        if self.fleet is not None:
            self.metrics.load = self.fleet.look()
            self._incidents.take(self.metrics.load, now)
        for worker in workers.stuck(self._config.hang_seconds, now):
            log.error(
                "worker %d is stuck or silent for more than hang_seconds = %g and is replaced",
                *(worker.number, self._config.hang_seconds),
            )
            self.metrics.stuck += 1
            await worker.kill()
        if self._registry is not None and workers and (stamp := self._registry.stamp()) != self._seen:
            self._seen = stamp
            self._background(self.swap.follow_pointer())
        running = self.swap.state.running
        if workers and running and not running.digest and not self._learning:
            self._learning = True
            self._background(self._learn())
        if self.swap.astray:
            self._background(self.swap.bring_in_line())

    async def _learn(self) -> None:
        try:
            await self.swap.learn()
        finally:
            self._learning = False

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _standing(config: Config) -> Standing:
    if not config.metrics:
        return Standing()
    from sidecar.control.metrics import Metrics  # noqa: PLC0415 - not without need: it brings an HTTP server along

    return Metrics(config.coverage.alarm_below)


def watch(config: Config, runtime: Path) -> "FleetWatch | None":
    """Who watches the fleet, for metrics and the log; None where there is nothing to be seen, or it cannot be.

    Args:
        config: checked.
        runtime: where the fleet's table is.
    """
    if not config.fleet.enabled and not config.metrics:
        return None
    from sidecar.control.fleet import FleetWatch  # noqa: PLC0415 - see Control.watch

    try:
        return FleetWatch(config, runtime)
    except ConfigError as error:  # bundles can be changed and workers watched all the same
        log.error("the fleet is not watched: neither metrics nor the log tell of it: %s", error)  # noqa: TRY400 - all is said
        return None


async def _main(config: Config, runtime: Path, first: Path) -> None:
    control = Control(config, first)
    control.watch = partial(watch, config, runtime)
    end = _published(control.metrics, config)
    loop = asyncio.get_running_loop()
    serving = loop.create_task(control.run(runtime / SOCKET, lambda: _say({})))
    loop.add_signal_handler(signal.SIGTERM, serving.cancel)
    # No thread of the loop's pool: asyncio.run waits for these, and this one waits for as long as the supervisor lives.
    threading.Thread(target=_end_with_the_supervisor, args=(runtime,), name="lifeline", daemon=True).start()
    with suppress(asyncio.CancelledError):
        await serving
    if end:
        end()
    # Nothing is to be saved here, and a trial that is under way need not be waited for.
    os._exit(0)


def _published(standing: Standing, config: Config) -> Callable[[], None] | None:
    if not config.metrics:
        return None
    from sidecar.control.metrics import Metrics, publish  # noqa: PLC0415 - see _standing

    assert isinstance(standing, Metrics)  # noqa: S101 - see _standing
    return publish(standing, config.metrics)


def _end_with_the_supervisor(runtime: Path) -> None:
    while os.read(0, 1024):
        pass
    # What it would have removed itself, had it not been killed; passwords may stand in it. Workers have open what they need.
    shutil.rmtree(runtime, ignore_errors=True)
    os._exit(0)  # nothing is to be saved here


def _say(status: dict[str, str]) -> None:
    print(msgspec.json.encode(status).decode(), flush=True)  # noqa: T201 - the supervisor listens
    os.dup2(2, 1)  # nobody reads what else may be printed there


def main() -> None:
    """Serves until SIGTERM. Arguments: runtime directory, directory of the first bundle."""
    runtime, first = Path(sys.argv[1]), Path(sys.argv[2])
    logs.begin("control")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the supervisor says when to end
    config = msgspec.json.decode((runtime / CONFIG).read_bytes(), type=Config)
    try:
        asyncio.run(_main(config, runtime, first))
    except ConfigError as error:
        _say({"error": str(error)})
        sys.exit(CONFIG_FAULT)


if __name__ == "__main__":
    main()
