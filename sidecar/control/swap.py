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
from pathlib import Path

import msgspec

from sidecar.bundle.registry import Registry
from sidecar.bundle.signature import Trust
from sidecar.bundle.trial import TrialReport, TrialRequest, try_out
from sidecar.bundle.verify import verify
from sidecar.config import Config
from sidecar.control.commands import P99, Commands
from sidecar.control.listing import listed
from sidecar.control.messages import (
    Activate,
    Cost,
    Event,
    Happened,
    Hello,
    ListBundles,
    Operate,
    Result,
    State,
    Target,
)
from sidecar.control.workers import Worker, Workers
from sidecar.errors import BundleError, ConfigError, RouterError
from sidecar.faults import place
from sidecar.settings import GateConfig

log = logging.getLogger(__name__)

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
        self._commands = Commands(self.workers)

    def _greet(self, hello: Hello) -> State:
        if self.state.running is None:
            # The first worker that runs something tells a new control process what that is.
            self.state = hello.state if hello.state.running else State(self._first)
        elif not self.state.running.digest and hello.state.running and hello.state.running.digest:
            # Nothing was checked before the first start; now it is known which bundle it was.
            self.state = hello.state
        if hello.state.differs(self.state):
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
                result = await self.roll_back()
        except RouterError as error:
            result = Result(0, error.status, str(error), self.state, len(self.workers))
        except Exception as error:  # noqa: BLE001 - the operator gets it as a status
            log.error("an operation failed: %s", place(error))  # noqa: TRY400 - what it says may quote a prompt
            result = Result(0, "INTERNAL", f"{type(error).__name__}; the control process's log says more", self.state)
        return msgspec.structs.replace(result, id=message.id)

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
                    self._happened("REFUSED", f"{wish.directory} ({asked_by}): {error}")
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
        after = before.with_bundle(target, wish.share)
        began = time.monotonic()
        try:
            prepared = await self._commands.prepare(target)
            if wish.share is None:
                await asyncio.to_thread(_point, registry, path.name)
        except RouterError:
            self._commands.forget(self.state)
            raise
        prepare_s = time.monotonic() - began
        switch_s, p99_s = await self._switch(after, list(self.workers), prepared)
        if wish.share is None:
            self._happened("ACTIVATED", f"{path.name}, {version} ({asked_by})")
        else:
            self._happened("CANARY_STARTED", f"{path.name}, {version}, {wish.share:g} of the traffic ({asked_by})")
        cost = Cost(gate_s, prepare_s, switch_s, *p99_s)
        return Result(0, state=after, workers=len(self.workers), comparison=report.comparison, cost=cost)

    async def roll_back(self) -> Result:
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
                # In memory already, but for workers that could not keep it.
                prepared = await self._commands.prepare(before.previous)
                await asyncio.to_thread(self._point_to, before.previous)
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
                self._happened("REFUSED", f"the pointer file is not followed: {error}; {running} runs on")

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
        known = [state for state in await self._commands.states() if state.running]
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
            sample=await self._commands.sample(gate.sample),
        )
        report = await asyncio.to_thread(self._gate, request, limits)
        if report.manifest_sha256 != target.digest:
            raise BundleError(f"{target.directory}: changed while it was tried out; activate it again")
        return report

    async def _switch(self, after: State, workers: Sequence[Worker], prepared: set[int]) -> tuple[float, P99]:
        self.state = after  # whoever connects from now on runs it from the start
        return await self._commands.switch(after, workers, prepared)

    def _point_to(self, target: Target) -> None:
        path = Path(target.directory)
        if self._registry is not None and path.parent == self._registry.directory:
            _point(self._registry, path.name)

    def _happened(self, event: Event, message: str) -> None:
        self.counts[event] = self.counts.get(event, 0) + 1
        log.log(logging.ERROR if event == "REFUSED" else logging.INFO, "%s: %s", event, message)
        self.workers.tell_all(Happened(time.time(), event, message, self.state))

    async def _list(self) -> Result:
        await self._learn_what_runs()
        found = await asyncio.to_thread(listed, self._registry, self._config.trust) if self._registry else ()
        return Result(0, state=self.state, workers=len(self.workers), listed=found)


def _point(registry: Registry, name: str) -> None:
    try:
        present = registry.active()
    except BundleError:
        present = ""
    if present != name:  # whoever asked by the pointer file has written it already
        registry.point(name)
