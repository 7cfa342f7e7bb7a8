"""The sources that a configuration asks for."""

from collections.abc import Callable, Sequence
from typing import Protocol

from sidecar.config import CandidateConfig, Config
from sidecar.fleet.sources.engines import ORCA, Engine, engines
from sidecar.fleet.sources.merge import Merge
from sidecar.fleet.sources.prometheus import Publish, Scraper
from sidecar.fleet.sources.settings import TelemetryConfig
from sidecar.fleet.sources.tally import Tally
from sidecar.fleet.telemetry import Telemetry

# What one source said lately counts beside another one's news: a slow reader's intervals, and never less than this.
KEEP_INTERVALS, KEEP_S = 5, 5.0


class Source(Protocol):
    """Where telemetry comes from."""

    @property
    def tallies(self) -> Sequence[Tally]:
        """How each server that it reads fares."""
        ...

    async def run(self) -> None:
        """Reads and publishes until it is cancelled."""
        ...


def sources_of(config: Config, publish: Publish) -> list[Source]:
    """All sources of all candidates; grpc is imported only if there is one that needs it.

    Args:
        config: checked.
        publish: takes a candidate's name and what was observed of it.

    Raises:
        ConfigError: a file that the configuration names cannot be used.
    """
    known = engines(config.fleet.engines)
    return [source for candidate in config.candidates for source in _of(candidate, known, publish)]


def _of(candidate: CandidateConfig, known: dict[str, Engine], publish: Publish) -> list[Source]:
    telemetry, name = candidate.telemetry, candidate.name
    if telemetry is None:
        return []
    if not telemetry.orca:
        return [Scraper(name, telemetry, known[telemetry.engine], publish)]
    if not telemetry.urls:
        return [_listener(name, telemetry, known[ORCA], publish)]
    keep_s = max(KEEP_S, KEEP_INTERVALS * telemetry.interval_seconds)
    merge = Merge(lambda observed: publish(name, observed), keep_s)
    return [
        Scraper(name, telemetry, known[telemetry.engine], _into(merge, "prometheus")),
        _listener(name, telemetry, known[ORCA], _into(merge, ORCA)),
    ]


def _into(merge: Merge, source: str) -> Publish:
    take: Callable[[Telemetry], None] = merge.of(source)
    return lambda _candidate, observed: take(observed)


def _listener(name: str, telemetry: TelemetryConfig, engine: Engine, publish: Publish) -> Source:
    from sidecar.fleet.sources.orca import OrcaListener  # noqa: PLC0415 - grpc weighs 20 MB, and few have ORCA

    return OrcaListener(name, telemetry, engine, publish)
