"""A worker process: the data plane on the shared port, and at its back the link to the control process.

It serves whether or not the control process is there. Started by the supervisor; `python -m sidecar.worker` is not for
hands.
"""

import logging
import os
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from sidecar import logs
from sidecar.bundle import memory
from sidecar.bundle.embedded import configured_bundle
from sidecar.bundle.registry import Registry
from sidecar.config import Config
from sidecar.control import CONFIG, CONFIG_FAULT, SOCKET
from sidecar.control.link import Command, Link
from sidecar.control.messages import (
    BEAT_S,
    Beat,
    Done,
    Happened,
    Hello,
    Others,
    Prepare,
    Sample,
    State,
    Switch,
    Target,
)
from sidecar.errors import BundleError, RouterError
from sidecar.faults import place
from sidecar.lanes.bundles import Bundles
from sidecar.lanes.canary import Canary
from sidecar.lanes.engine import Engine
from sidecar.processes.handover import Handover
from sidecar.processes.listeners import handed_down
from sidecar.routing.recorded import Recorded
from sidecar.server import Server
from sidecar.stats import Stats

log = logging.getLogger(__name__)

# How long a worker that starts waits to be told what to run, before it looks for itself.
ASSIGNMENT_S = 3.0
# Loading runs beside the transport's thread; with Python's 5 ms it would have to wait so long for every turn.
SWITCH_INTERVAL_S = 0.0005
# Loading costs 15 to 20 ms of processor time. At the transport's priority it would take half of a busy core for as long; at this
# one it takes a tenth, and 0.2 s. Lower still, and whoever else wants the core could keep it from giving the GIL back.
NICER = 10
ENOUGH_FOR_P99 = 200


class Worker:
    """One worker.

    Args:
        config: checked.
        number: of this worker, from 0.
        runtime: directory with the control process's socket.

    Raises:
        ConfigError: as Server.
    """

    def __init__(self, config: Config, number: int, runtime: Path) -> None:
        self._config = config
        self._number = number
        self._state = State()
        self._serving = threading.Event()
        self._warm: dict[str, Engine] = {}
        self._prepare_began = 0.0
        self._link = Link(
            runtime / SOCKET,
            hello=lambda: Hello(number, os.getpid(), self._state),
            carry_out=self._carry_out,
            others=self._hear_of_others,
            happened=self._hear_of_events,
        )
        self._bundles = Bundles(self._link.operate)
        self._link.start()
        threading.Thread(target=self._beat, name="beat", daemon=True).start()
        assigned = self._link.assignment(ASSIGNMENT_S) or State(Target(str(_own_choice(config))))
        running = assigned.running or Target(str(_own_choice(config)))
        self.server = Server(
            config,
            Path(running.directory),
            running.digest,
            cold=self._bundles.cold,
            watches=self._bundles.watches,
            shared=True,
            runtime=runtime,
            number=number,
        )
        self.server.info.worker = number
        engine = self.server.services.engine
        self._warm[engine.digest] = engine
        for target in (assigned.canary, assigned.previous):
            self._warm_up(target)
        canary = self._known(assigned.canary)
        if canary:
            self.server.services.canary = Canary(self._warm[canary.digest], assigned.share)
        share = assigned.share if canary else 0.0
        self._state = State(_target(running.directory, engine), self._known(assigned.previous), canary, share)
        self._bundles.hear(self._state)

    def start(self, listen: str, listener: socket.socket | None = None, handover: Handover | None = None) -> str:
        """Serves; gives the address.

        Args:
            listen: HOST:PORT.
            listener: the listening socket that the supervisor handed down; None: the transport binds by itself.
            handover: moves connections to and from the other workers; None without `listener`.
        """
        address = self.server.start(listen, [listener] if listener else [], handover)
        self._serving.set()
        return address

    def drain(self) -> None:
        """Ends in good order."""
        self._bundles.close()
        self.server.drain()
        self._link.tell(Beat(0.0, self.server.info.own()))  # else what was served since the last one is not counted
        self._link.close()

    def _warm_up(self, target: Target | None) -> None:
        if target is None or target.digest in self._warm:
            return
        try:
            self._warm[target.digest] = self.server.prepare(Path(target.directory), target.digest)
        except RouterError as error:
            log.warning("%s cannot be kept in memory: %s", target.version, error)

    def _known(self, target: Target | None) -> Target | None:
        return target if target and target.digest in self._warm else None

    def _beat(self) -> None:
        while True:
            time.sleep(BEAT_S)
            if not self._serving.is_set():
                self._link.tell(Beat(0.0, Stats()))  # loading may take longer than anybody may be silent
                continue
            self.server.tick()
            self.server.sensing.live.writer.beat()
            since = self.server.services.busy_since
            stuck_s = 0.0 if since is None else time.perf_counter() - since
            self._link.tell(Beat(stuck_s, self.server.info.own()))

    def _hear_of_others(self, others: Others) -> None:
        if self._serving.is_set():
            self.server.info.workers = others.workers
            self.server.info.others = others.stats

    def _hear_of_events(self, event: Happened | State) -> None:
        self._bundles.hear(event)

    def _carry_out(self, command: Command) -> Done:
        error, p99_s = "", (0.0, 0.0)
        sample: tuple[Recorded, ...] = ()
        try:
            self._serving.wait()
            if isinstance(command, Prepare):
                self._prepare(command.target)
            elif isinstance(command, Switch):
                self._switch(command)
                p99_s = self._p99()
            else:
                sample = self._sample(command)
        except RouterError as fault:
            error = str(fault)
        except Exception as fault:  # noqa: BLE001 - the control process gets it as an error
            log.error("a command of the control process failed: %s", place(fault))  # noqa: TRY400 - it may quote a prompt
            error = f"{type(fault).__name__}; the worker's log says more"
        return Done(command.id, error, self._state, sample, p99_s)

    def _prepare(self, target: Target) -> None:
        self._prepare_began = time.perf_counter()
        if target.digest not in self._warm:
            load = partial(self.server.prepare, Path(target.directory), target.digest)
            with ThreadPoolExecutor(1, initializer=_step_back) as loader:  # nobody may step forward again
                self._warm[target.digest] = loader.submit(load).result()

    def _switch(self, command: Switch) -> None:
        state, services = command.state, self.server.services
        if state.running is None:
            raise BundleError("there is nothing to switch to")
        engine = self._prepared(state.running)
        canary = None
        if state.canary is not None:
            canary = services.canary
            tried = self._prepared(state.canary)
            if canary is None or canary.engine is not tried or canary.share != state.share:
                canary = Canary(tried, state.share)
        if not self.server.switch(engine, canary, command.patience_s):
            raise BundleError(f"the transport did not get to the switch within {command.patience_s:g} s")
        self._state = state
        kept = {target.digest for target in (state.running, state.previous, state.canary) if target}
        self._warm = {digest: warm for digest, warm in self._warm.items() if digest in kept}
        memory.give_back()

    def _prepared(self, target: Target) -> Engine:
        if target.digest not in self._warm:
            raise BundleError(f"{target.directory}: is not prepared")
        return self._warm[target.digest]

    def _sample(self, command: Sample) -> tuple[Recorded, ...]:
        engine = self.server.services.engine
        recent = list(engine.recent)[-command.amount :] if command.amount else []
        return tuple(Recorded.of(ask, engine.table) for ask in recent)

    def _p99(self) -> tuple[float, float]:
        batches = list(self.server.services.batches)
        during = [(worst, size) for ended, worst, size in batches if ended >= self._prepare_began]
        before = [(worst, size) for ended, worst, size in batches if ended < self._prepare_began]
        return _weighted_p99(before), _weighted_p99(during)


def _step_back() -> None:
    """Leaves the core to those who answer requests. On Linux this counts for the calling thread alone."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with suppress(OSError):  # a container may forbid it, and loading must go on
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICER)


def _weighted_p99(batches: list[tuple[float, int]]) -> float:
    sizes = np.array([size for _, size in batches])
    if sizes.sum() < ENOUGH_FOR_P99:
        return 0.0
    worst = np.array([seconds for seconds, _ in batches])
    order = np.argsort(worst)
    place = np.searchsorted(np.cumsum(sizes[order]), 0.99 * sizes.sum())
    return float(worst[order][place])


def _target(directory: str, engine: Engine) -> Target:
    return Target(directory, engine.version, engine.digest)


def _own_choice(config: Config) -> Path:
    """What to run when nobody says it."""
    if not config.registry:
        return configured_bundle(config)
    registry = Registry(Path(config.registry))
    try:
        return registry.path(name) if (name := registry.active()) else configured_bundle(config)
    except RouterError as error:
        log.error("registry: %s; the embedded bundle is run", error)  # noqa: TRY400 - all is said
        return configured_bundle(config)


def _end_with_the_supervisor() -> None:
    """Drains when the supervisor is gone: whoever starts the next one finds the port free."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _sigterm() -> int:
    """A descriptor that can be read once SIGTERM has come; from then on, and before, the signal does nothing else.

    A handler that sets an Event could meet its own thread in the midst of waiting for it; and a signal that is merely
    blocked would end the process through one of the threads that libraries started when they were imported.
    """
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell)
    signal.signal(signal.SIGTERM, lambda *_: None)
    return told


def main() -> None:
    """Serves until SIGTERM. Arguments: number, runtime directory, address, and what Listeners.arguments says, if it listens.

    Tells on standard output, in one line of JSON, that it serves, or why it cannot.
    """
    number, runtime, listen = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    logs.begin(f"worker-{number}")
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    told = _sigterm()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the supervisor says when to end
    config = msgspec.json.decode((runtime / CONFIG).read_bytes(), type=Config)
    threading.Thread(target=_end_with_the_supervisor, name="lifeline", daemon=True).start()
    try:
        worker = Worker(config, number, runtime)
        address = worker.start(listen, *(handed_down(number, runtime, sys.argv[4:]) if sys.argv[4:] else ()))
    except RouterError as error:
        print(msgspec.json.encode({"error": str(error)}).decode(), flush=True)  # noqa: T201 - the supervisor listens
        sys.exit(CONFIG_FAULT)
    server = worker.server
    engine = server.services.engine
    status = {
        "address": address,
        "transport": config.transport,
        "running": engine.version,
        "fault": engine.fault,
    }
    print(msgspec.json.encode(status).decode(), flush=True)  # noqa: T201 - the supervisor listens
    os.dup2(2, 1)  # nobody reads what else may be printed there
    os.read(told, 1)
    worker.drain()


if __name__ == "__main__":
    main()
