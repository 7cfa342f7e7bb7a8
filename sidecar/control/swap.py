"""Changing what all workers run: gate, prepare, switch; and whatever fails before the switch leaves all as it was.

The order of things is what makes it safe:

1. The gate: a child process verifies the bundle, tries it out and compares it with the running one.
2. Every connected worker loads it beside the running one. If one cannot, all forget it.
3. The pointer file names it, so that what starts from now on runs it.
4. Every worker switches between two batches, one that came meanwhile after it has loaded the bundle. One that does not
   is killed, and comes back with the new bundle.
5. Only then the switch is acknowledged: no request is decided by the bundle before any more.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path

import msgspec

from sidecar.bundle.registry import Registry
from sidecar.bundle.signature import Trust
from sidecar.bundle.trial import TrialReport, TrialRequest, try_out
from sidecar.bundle.verify import verify
from sidecar.config import Config, GateConfig
from sidecar.control.messages import (
    Activate,
    Cost,
    Done,
    Event,
    Happened,
    Hello,
    ListBundles,
    Listed,
    Operate,
    Prepare,
    Result,
    Rollback,
    Sample,
    State,
    Switch,
    Target,
)
from sidecar.control.workers import MakeCommand, Worker, WorkerGone, Workers
from sidecar.errors import Aborted, BundleError, ConfigError, RouterError
from sidecar.routing.compare import Recorded

log = logging.getLogger(__name__)

PREPARE_S = 120.0
SAMPLE_S = 5.0
SWITCH_S = 5.0

Gate = Callable[[TrialRequest, GateConfig], TrialReport]


class Swap:
    """What runs, and the only way to change it.

    Args:
        config: checked.
        registry: where bundles lie; None: what the configuration names runs until the end.
        first: what to run where no worker says that it runs something already.
        gate: tries a bundle within limits.

    Attributes:
        state: what all workers run.
        counts: what happened, how often.
        astray: pids of workers that run something else.
        workers: those that are connected.
    """

    def __init__(
        self,
        config: Config,
        registry: Registry | None,
        first: Target,
        gate: Gate = try_out,
    ) -> None:
        self._config = config
        self._registry = registry
        self._gate = gate
        self._changing = asyncio.Lock()
        self.counts: dict[Event, int] = {}
        self.state = State()
        self._first = first
        self.astray: set[int] = set()
        self.workers = Workers(self._greet, self.operate)

    def _greet(self, hello: Hello) -> State:
        if self.state.running is None:
            # The first worker that runs something tells a new control process what that is.
            self.state = hello.state if hello.state.running else State(self._first)
        elif not self.state.running.digest and hello.state.running and hello.state.running.digest:
            # Nothing was checked before the first start; now it is known which bundle it was.
            self.state = hello.state
        if _differ(hello.state, self.state):
            self.astray.add(hello.pid)
        return self.state

    async def bring_in_line(self) -> None:
        """Has workers run what all run that do not: the control process before ended in the midst of a switch."""
        async with self._changing:
            astray = [worker for worker in self.workers if worker.pid in self.astray]
            self.astray.clear()
            if astray:
                for worker in astray:
                    log.warning("worker %d runs something else than the others; it is switched", worker.number)
                await self._switch(self.state, astray, set())

    async def operate(self, message: Operate) -> Result:
        """Carries out what an operator asks; never raises."""
        operation = message.operation
        try:
            if isinstance(operation, ListBundles):
                result = await self._list()
            elif isinstance(operation, Activate):
                result = await self.activate(operation, "a call")
            else:
                result = await self.roll_back(operation)
        except RouterError as error:
            result = Result(0, error.status, str(error), self.state, len(self.workers))
        except Exception as error:
            log.exception("an operation failed")
            result = Result(0, "INTERNAL", f"{type(error).__name__}; the control process's log says more", self.state)
        return Result(
            message.id,
            result.status,
            result.error,
            result.state,
            result.workers,
            result.comparison,
            result.cost,
            result.listed,
        )

    async def activate(self, wish: Activate, asked_by: str) -> Result:
        """Activates a bundle of the registry.

        Raises:
            RouterError: it is refused, and nothing has changed.
        """
        registry = self._demand_registry()
        async with self._changing:
            await self._learn_what_runs()
            path = registry.path(wish.directory)
            try:
                return await self._activate(registry, path, wish, asked_by)
            except RouterError as error:
                if not wish.dry_run:
                    self._refused(f"{wish.directory} ({asked_by}): {error}")
                raise

    async def _activate(self, registry: Registry, path: Path, wish: Activate, asked_by: str) -> Result:
        before = self.state
        began = time.monotonic()
        digest, version = await asyncio.to_thread(self._verified, path)
        target = Target(str(path), version, digest)
        if wish.share is not None and before.running and before.running.digest == digest:
            raise ConfigError(f"directory: {path.name} runs already; a canary needs another bundle.")
        report = await self._tried(target, wish)
        gate_s = time.monotonic() - began
        if wish.dry_run:
            return Result(0, state=before, workers=len(self.workers), comparison=report.comparison, cost=Cost(gate_s))
        after = _after(before, target, wish.share)
        began = time.monotonic()
        try:
            prepared = await self._prepare(target)
            if wish.share is None:
                await asyncio.to_thread(_point, registry, path.name)
        except RouterError:
            self._forget()
            raise
        prepare_s = time.monotonic() - began
        switch_s, p99_s = await self._switch(after, list(self.workers), prepared)
        if wish.share is None:
            self._happened("ACTIVATED", f"{path.name}, {version} ({asked_by})")
        else:
            self._happened("CANARY_STARTED", f"{path.name}, {version}, {wish.share:g} of the traffic ({asked_by})")
        cost = Cost(gate_s, prepare_s, switch_s, *p99_s)
        return Result(0, state=after, workers=len(self.workers), comparison=report.comparison, cost=cost)

    async def roll_back(self, _wish: Rollback) -> Result:
        """Ends the canary, or else brings back the bundle before.

        Raises:
            RouterError: there is neither.
        """
        async with self._changing:
            await self._learn_what_runs()
            before = self.state
            prepared: set[int] = set()
            if before.canary is not None:
                event: Event = "CANARY_ENDED"
                after = State(before.running, before.previous)
                told = f"{Path(before.canary.directory).name}, {before.canary.version}"
            elif before.previous is not None:
                event = "ROLLED_BACK"
                after = State(before.previous, before.running)
                told = f"{Path(before.previous.directory).name}, {before.previous.version} runs again"
                prepared = await self._prepare(
                    before.previous
                )  # in memory already, but for workers that could not keep it
                self._point_to(before.previous)
            else:
                raise ConfigError("there is no canary, and no bundle ran before this one; activate one by its name.")
            switch_s, _ = await self._switch(after, list(self.workers), prepared)
            self._happened(event, told)
            return Result(0, state=after, workers=len(self.workers), cost=Cost(switch_s=switch_s))

    async def follow_pointer(self) -> None:
        """Activates what the pointer file names, if that does not run. What is wrong with it is told, not raised."""
        registry = self._registry
        if registry is None or self.state.running is None:
            return
        # Read when it is our turn: what it named before may have been rolled back meanwhile.
        async with self._changing:
            try:
                name = registry.active()
                if name and not await self._runs(path := registry.path(name)):
                    await self._activate(registry, path, Activate(name), "the pointer file")
            except RouterError as error:
                running = Path(self.state.running.directory).name
                self._refused(f"the pointer file is not followed: {error}; {running} runs on")

    async def _runs(self, path: Path) -> bool:
        await self._learn_what_runs()
        running = self.state.running
        if running is None or path != Path(running.directory):
            return False
        digest, _ = await asyncio.to_thread(self._verified, path)
        return digest == running.digest  # else another bundle was put into the same directory

    def _demand_registry(self) -> Registry:
        if self._registry is None:
            raise ConfigError(
                "registry: this sidecar has none, so its bundle cannot be changed; start it with `--registry DIR`."
            )
        return self._registry

    async def learn(self) -> None:
        """Finds out which bundle it is that runs, if that is not known yet."""
        async with self._changing:
            await self._learn_what_runs()

    async def _learn_what_runs(self) -> None:
        """Before the first swap: which bundle it is that was loaded at the start, without a check of ours."""
        if self.state.running is None or self.state.running.digest:
            return
        done = await self._ask_all(list(self.workers), lambda number: Sample(number, 0), SAMPLE_S)
        known = [each.state for each in done if isinstance(each, Done) and each.state.running]
        # One that could not load it does not know; and meanwhile something else may have taken over.
        known.sort(key=lambda state: not (state.running and state.running.digest))
        if known and not self.state.running.digest:
            self.state = known[0]

    def _verified(self, path: Path) -> tuple[str, str]:
        manifest, digest = verify(path, trust=Trust.read(map(Path, self._config.trust)))
        return digest, f"{manifest.name} {manifest.version}"

    async def _tried(self, target: Target, wish: Activate) -> TrialReport:
        gate = self._config.gate
        agreement = gate.require_agreement if wish.require_agreement is None else wish.require_agreement
        running = self.state.running
        limits = msgspec.structs.replace(gate, require_agreement=agreement)
        compared = running if running and running.digest else Target("")
        request = TrialRequest(
            config=self._config,
            directory=target.directory,
            trust=self._config.trust,
            running=compared.directory,
            running_sha256=compared.digest,
            sample=await self._sample(gate.sample),
        )
        report = await asyncio.to_thread(self._gate, request, limits)
        if report.manifest_sha256 != target.digest:
            raise BundleError(f"{target.directory}: changed while it was tried out; activate it again")
        return report

    async def _sample(self, amount: int) -> tuple[Recorded, ...]:
        workers = list(self.workers)
        if not amount or not workers:
            return ()
        done = await self._ask_all(workers, lambda number: Sample(number, amount), SAMPLE_S)
        samples = [one.sample[::-1] for one in done if isinstance(one, Done)]
        # In turn from each worker, the newest first, since some may have had little traffic.
        mixed = [recorded for turn in zip_longest(*samples) for recorded in turn if recorded is not None]
        return tuple(mixed[:amount])

    async def _prepare(self, target: Target) -> set[int]:
        """Has all workers load a bundle; also those that come while others load. Gives their pids."""
        prepared: set[int] = set()
        while unprepared := [worker for worker in self.workers if worker.pid not in prepared]:
            found = await self._ask_all(unprepared, lambda number: Prepare(number, target), PREPARE_S)
            for worker, done in zip(unprepared, found, strict=True):
                fault = str(done) if isinstance(done, WorkerGone) else done.error
                if fault:
                    raise Aborted(
                        f"worker {worker.number} cannot load {target.directory}: {fault}; nothing is changed."
                    )
                prepared.add(worker.pid)
        return prepared

    def _forget(self) -> None:
        """Has all workers drop what is not in the present state."""
        for worker in self.workers:
            worker.tell(Switch(0, self.state, SWITCH_S))

    async def _switch(
        self, after: State, workers: Sequence[Worker], prepared: set[int]
    ) -> tuple[float, tuple[float, float]]:
        """Has workers switch; gives the seconds that it took, and the p99 before and meanwhile."""
        began = time.monotonic()
        self.state = after  # whoever connects from now on runs it from the start
        found = await asyncio.gather(
            *(self._hand_over(worker, after, prepared=worker.pid in prepared) for worker in workers)
        )
        p99_s: list[tuple[float, float]] = []
        for worker, done in zip(workers, found, strict=True):
            if isinstance(done, Done) and not done.error:
                p99_s.append(done.p99_s)
            else:
                log.error("worker %d did not switch and is replaced: %s", worker.number, done)
                await worker.kill()
        worst = max(p99_s, key=lambda pair: pair[1], default=(0.0, 0.0))
        return time.monotonic() - began, worst

    async def _hand_over(self, worker: Worker, after: State, *, prepared: bool) -> Done | WorkerGone:
        try:
            for target in () if prepared else (after.running, after.canary):
                if target is not None:
                    await worker.ask(partial(Prepare, target=target), PREPARE_S)
            return await worker.ask(lambda number: Switch(number, after, SWITCH_S), 2 * SWITCH_S + 1)
        except WorkerGone as gone:
            return gone

    async def _ask_all(
        self, workers: Sequence[Worker], make: MakeCommand, patience_s: float
    ) -> list[Done | WorkerGone]:
        async def ask(worker: Worker) -> Done | WorkerGone:
            try:
                return await worker.ask(make, patience_s)
            except WorkerGone as gone:
                return gone

        return list(await asyncio.gather(*map(ask, workers)))

    def _point_to(self, target: Target) -> None:
        path = Path(target.directory)
        if self._registry is not None and path.parent == self._registry.directory:
            _point(self._registry, path.name)

    def _refused(self, message: str) -> None:
        log.error("%s", message)
        self._happened("REFUSED", message)

    def _happened(self, event: Event, message: str) -> None:
        self.counts[event] = self.counts.get(event, 0) + 1
        log.info("%s: %s", event, message)
        self.workers.tell_all(Happened(time.time(), event, message, self.state))

    async def _list(self) -> Result:
        await self._learn_what_runs()
        listed = await asyncio.to_thread(self._listed) if self._registry else ()
        return Result(0, state=self.state, workers=len(self.workers), listed=listed)

    def _listed(self) -> tuple[Listed, ...]:
        assert self._registry is not None  # noqa: S101 - asked before
        trust = Trust.read(map(Path, self._config.trust))
        found = []
        for name in self._registry.names():
            try:
                manifest, digest = verify(self._registry.directory / name, trust=trust)
            except BundleError as error:
                found.append(Listed(name, refusal=str(error)))
            else:
                found.append(Listed(name, manifest.name, manifest.version, manifest.family, digest))
        return tuple(found)


def _point(registry: Registry, name: str) -> None:
    try:
        present = registry.active()
    except BundleError:
        present = ""
    if present != name:  # whoever asked by the pointer file has written it already
        registry.point(name)


def _differ(one: State, other: State) -> bool:
    """Whether a worker that runs one answers otherwise than one that runs the other. What could not be loaded is equal."""
    if not (one.running and one.running.digest and other.running and other.running.digest):
        return False
    return one.running.digest != other.running.digest or one.canary != other.canary or one.share != other.share


def _after(before: State, target: Target, share: float | None) -> State:
    if share is not None:
        return State(before.running, before.previous, target, share)
    if before.running and before.running.digest == target.digest:
        return State(target, before.previous)
    return State(target, before.running)
