"""Puts a server together: configuration, bundle, engine, services, transport. One process's data plane, complete in itself."""

import gc
import logging
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sidecar.bundle.embedded import DEFAULT_BUNDLE, configured_bundle
from sidecar.bundle.load import Bundle, load
from sidecar.bundle.signature import ANYONE, Trust
from sidecar.config import Config
from sidecar.coverage import Coverage, CoverageWindow
from sidecar.errors import BundleError
from sidecar.fleet.regions import OwnMemory
from sidecar.lanes.canary import Canary
from sidecar.lanes.engine import Engine
from sidecar.lanes.fleet import fleet_methods
from sidecar.lanes.health import COVERAGE, DEVICE, SCORING, Health
from sidecar.lanes.info import Info
from sidecar.lanes.lane import Cold, Watch
from sidecar.lanes.outcomes import Outcomes
from sidecar.lanes.services import INFO, RouterServices
from sidecar.ledger.journal import Counts, Journal
from sidecar.ledger.noted import Noted, Recorder, prompt_rule
from sidecar.routing.decision_id import DecisionIds
from sidecar.routing.router import Decided
from sidecar.routing.rule import Unsensed
from sidecar.scoring.providers import demand
from sidecar.scoring.session import available
from sidecar.sensing import Sensing
from sidecar.stats import Stats
from sidecar.transport.choose import transport_of
from sidecar.transport.transport import Handover, Transport

log = logging.getLogger(__name__)


class Server:
    """A server that can be started once, and whose bundle can be changed while it runs.

    Args:
        config: checked.
        directory: of the bundle; None is the configured one.
        digest: what its manifest's sha256 must be; empty is anything.
        cold: further rare methods, by path.
        watches: further streams of replies, by path.
        shared: whether other processes may listen on the same port.
        runtime: directory with the memory that this sidecar's processes share; None: nobody shares anything.
        number: of this process among those that serve, from 0.

    Raises:
        ConfigError: the configuration does not fit the bundle, or the address or the provider cannot be had.
    """

    def __init__(
        self,
        config: Config,
        directory: Path | None = None,
        digest: str = "",
        cold: Mapping[str, Cold] | None = None,
        watches: Mapping[str, Watch] | None = None,
        *,
        shared: bool = False,
        runtime: Path | None = None,
        number: int = 0,
    ) -> None:
        demand(config.provider, available())
        self._config = config
        self._clock: Callable[[], float] = time.perf_counter
        self._memory = None if runtime else OwnMemory(config)
        directory_of_memory = self._memory.directory if self._memory else runtime
        assert directory_of_memory is not None  # noqa: S101 - one of the two is there
        self.sensing = Sensing(config, number, directory_of_memory, clock=time.monotonic, unix=time.time)
        self._ids = DecisionIds(time.time, self.sensing.live.process)
        self.journal = Journal(config.ledger, Recorder(prompt_rule(config.ledger))) if config.ledger.directory else None
        self.coverage = Coverage()
        self.window = CoverageWindow(self.coverage, config.coverage.window_seconds, config.coverage.alarm_below)
        engine = self._first_engine(directory or configured_bundle(config), digest)
        self.health = Health(engine.fault)
        self.services = RouterServices(
            config,
            engine,
            self.coverage,
            clock=self._clock,
            on_fault=lambda fault: self.health.set(SCORING, serving=not fault),
        )
        self.services.between = self.sensing.between
        submit = self.journal.submit if self.journal else None
        self.outcomes = Outcomes(config.max_batch_items, self.sensing, submit)
        self.services.listen(self.outcomes)
        self.info = Info(config, self.services, self._counted)
        fleet = fleet_methods(config, self.sensing, lambda: self.services.engine.table)
        self.services.cold |= {INFO: self.info, **fleet.cold, **(cold or {})}
        self.services.watches |= watches or {}
        self.transport: Transport = transport_of(config, self.services, self.health, shared=shared)
        self._alarms: list[str] = []
        self._device_fault = ""

    @property
    def bundle(self) -> Bundle | None:
        """The running bundle."""
        return self.services.engine.bundle

    def start(
        self,
        listen: str = "",
        listeners: Sequence[socket.socket] = (),
        handover: Handover | None = None,
    ) -> str:
        """Serves where the configuration says, or at `listen`; gives the address with the port that was chosen.

        Args:
            listen: HOST:PORT.
            listeners: see Transport.start.
            handover: see Transport.start.
        """
        if self.journal:
            self.journal.start()
        address = self.transport.start(listen or self._config.listen, listeners, handover)
        # What lives now lives as long as the process: the collector need not walk it again and again.
        gc.collect()
        gc.freeze()
        return address

    def prepare(self, directory: Path, digest: str = "") -> Engine:
        """Loads a bundle beside the running one. From any thread but the transport's.

        Args:
            directory: of the bundle.
            digest: what its manifest's sha256 must be; empty is anything.

        Raises:
            BundleError: the bundle is refused, or is another than the digest says.
            ConfigError: the configuration does not fit it.
        """
        return self._engine(self._load(directory, digest, self.bundle), "")

    def switch(self, engine: Engine, canary: Canary | None, patience_s: float) -> bool:
        """See RouterServices.switch."""
        return self.services.switch(engine, canary, patience_s)

    def tick(self) -> None:
        """Moves the coverage window on, and health; to be called every second, from one thread, not the transport's."""
        bundle = self.bundle
        device_fault = bundle.placement.fault if bundle else ""
        if bool(device_fault) != bool(self._device_fault):
            self.health.set(DEVICE, serving=not device_fault)
        self._device_fault = device_fault
        self.info.window = window = self.window.tick()
        alarms = self.window.alarms(window)
        if bool(alarms) != bool(self._alarms):
            self.health.set(COVERAGE, serving=not alarms)
            if alarms:
                covered = window[alarms[0]]
                log.error(
                    "coverage of segment %r is %.1f %% (%d of %d requests scored), below coverage.alarm_below = %g%s",
                    *(alarms[0], 100 * covered.share, covered.scored, covered.total),
                    *(self._config.coverage.alarm_below, f"; {len(alarms) - 1} more segments" if alarms[1:] else ""),
                )
            else:
                log.warning("coverage is back above coverage.alarm_below in every segment")
        self._alarms = alarms

    def drain(self) -> None:
        """Health says NOT_SERVING, calls in flight may end; returns when all is closed."""
        self.transport.drain(self._config.drain_seconds)
        gc.unfreeze()  # whoever starts another server in this process gets this one's memory back
        if self.journal:
            self.journal.close()
        self.sensing.close()
        if self._memory:
            self._memory.close()

    def _note(self, engine: Engine, decided: Decided) -> None:
        assert self.journal is not None  # noqa: S101 - else this is not called
        self.journal.note(
            Noted(engine.origin, decided.ids, decided.asks, decided.outcomes, decided.expected, decided.embedding)
        )

    def _counted(self) -> Stats:
        """What was counted beside the services. From any thread."""
        decided, outcomes = self.sensing.counts, self.outcomes
        stats = Stats(
            reasons={reason: (number,) for reason, number in decided.by_reason().items()},
            log_only=decided.log_only,
            over_budget=decided.over_budget,
            disagreements=decided.disagreements,
            switches=decided.switches,
            forced_stays=decided.forced_stays,
            outcomes_accepted=outcomes.accepted,
            outcomes_invalid=outcomes.invalid,
            connections=self.transport.open,
            closed={reason: (number,) for reason, number in self.transport.closed.items()},
        )
        return stats + _journalled(self.journal.counts()) if self.journal else stats

    def _first_engine(self, directory: Path, digest: str) -> Engine:
        try:
            return self._engine(self._load(directory, digest, None), "")
        except BundleError as error:
            fault = f"bundle {directory}: {error}"
            engine = self._engine(None, fault)
            log.error("DEGRADED: %s; the safe candidate answers every request", fault)  # noqa: TRY400 - all is said
            return engine

    def _load(self, directory: Path, digest: str, like: Bundle | None) -> Bundle:
        bundle = load_bundle(self._config, directory, like)
        if digest and bundle.manifest_sha256 != digest:
            raise BundleError(f"{directory}: is another bundle than the one that was checked; activate it again.")
        return bundle

    def _engine(self, bundle: Bundle | None, fault: str) -> Engine:
        return Engine(
            self._config,
            bundle,
            fault,
            ids=self._ids,
            coverage=self.coverage,
            clock=self._clock,
            make_rule=self.sensing.of if self._config.fleet.enabled else Unsensed,
            record=self._note if self.journal else None,
            on_fault=lambda engine, reason: self.services.fault(engine, reason),  # noqa: PLW0108 - the first engine comes before them
        )


def _journalled(counts: Counts) -> Stats:
    return Stats(
        ledger_decisions=counts.decisions,
        ledger_dropped={reason: (number,) for reason, number in counts.dropped.items()},
        ledger_acknowledged=counts.acknowledged,
        ledger_refused=counts.refused,
        ledger_syncs=counts.syncs,
        ledger_waiting=counts.waiting,
    )


def load_bundle(config: Config, directory: Path | None = None, like: Bundle | None = None) -> Bundle:
    """Loads the bundle that the configuration names, or another one, if whom the configuration trusts has signed it.

    Args:
        config: says whom to trust; the keys are read anew every time.
        directory: of the bundle; None is the configured one. The embedded one needs no signature.
        like: see sidecar.bundle.load.

    Raises:
        BundleError: the bundle is refused.
        ConfigError: a key cannot be read, or the provider is demanded and cannot be had.
    """
    path, trust = directory or configured_bundle(config), Trust.read(map(Path, config.trust))
    # The embedded bundle is part of the program: nobody needs to vouch for it.
    return load(
        path,
        provider=config.provider,
        limits=config.encoder.limits(config.max_score_batch),
        trust=ANYONE if path == DEFAULT_BUNDLE else trust,
        like=like,
    )
