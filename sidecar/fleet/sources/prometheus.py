"""Scrapes the Prometheus metrics of a candidate's servers."""

import asyncio
import ssl
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from sidecar.errors import ConfigError
from sidecar.fleet.sources.bearer import headers_of
from sidecar.fleet.sources.engines import Engine
from sidecar.fleet.sources.fetch import Fetcher
from sidecar.fleet.sources.reading import Replica, observe
from sidecar.fleet.sources.samples import Exposition, SourceError
from sidecar.fleet.sources.settings import TelemetryConfig
from sidecar.fleet.sources.tally import Tally
from sidecar.fleet.telemetry import Telemetry

Publish = Callable[[str, Telemetry], None]


class Scraper:
    """Reads all replicas of one candidate at once, again and again.

    Args:
        candidate: its name.
        config: of its telemetry; `urls` are the replicas.
        engine: what their metrics mean.
        publish: takes each observation. There is none while no replica can be read: what was known then ages.
        clock: monotonic seconds.
        unix: Unix seconds.

    Attributes:
        tallies: how each replica fares.

    Raises:
        ConfigError: the file of authorities cannot be used.
    """

    def __init__(
        self,
        candidate: str,
        config: TelemetryConfig,
        engine: Engine,
        publish: Publish,
        *,
        clock: Callable[[], float] = time.monotonic,
        unix: Callable[[], float] = time.time,
    ) -> None:
        self._candidate = candidate
        self._interval_s = config.interval_seconds
        self._engine = engine
        self._publish = publish
        self._clock = clock
        self._unix = unix
        self._exposition = Exposition(engine.wanted(), config.model_name)
        headers = headers_of(config.headers, config.token_file)
        tls = trusting(candidate, config)
        self._fetchers = [
            Fetcher(url, timeout_s=config.timeout_seconds, headers=headers, tls=tls) for url in config.urls
        ]
        self._replicas = [Replica(engine, config.window_seconds) for _ in config.urls]
        self.tallies: Sequence[Tally] = [Tally(candidate, "prometheus", target) for target in targets(config.urls)]
        self._reading: dict[int, asyncio.Task[bool]] = {}

    async def run(self) -> None:
        """Scrapes until it is cancelled."""
        try:
            while True:
                began = self._clock()
                await self.scrape()
                await asyncio.sleep(max(0.0, self._interval_s - (self._clock() - began)))
        finally:
            reading = list(self._reading.values())
            for task in reading:
                task.cancel()
            await asyncio.gather(*reading, return_exceptions=True)
            for fetcher in self._fetchers:
                fetcher.close()

    async def scrape(self) -> None:
        """Reads all replicas once, and publishes what they say together.

        One that failed the last time is asked too, but not waited for: it may hang, and the others' news must not grow
        old over it. What it says counts from the next time on.
        """
        reading = self._reading
        for place in range(len(self._fetchers)):
            if place not in reading:
                reading[place] = asyncio.ensure_future(self._read(place))
        sound = [task for place, task in reading.items() if not self.tallies[place].fault]
        await asyncio.wait(sound or list(reading.values()))
        over = [place for place, task in reading.items() if task.done()]
        if any([reading.pop(place).result() for place in over]):  # noqa: C419 - all of them
            self._publish(self._candidate, observe(self._engine, self._replicas, self._unix()))

    async def _read(self, place: int) -> bool:
        replica, tally = self._replicas[place], self.tallies[place]
        try:
            samples = self._exposition.read(await self._fetchers[place].fetch())
        except SourceError as error:
            replica.hear(None, self._clock())
            tally.fail(str(error))
            return False
        replica.hear(samples, self._clock())
        tally.tell(self._unix())
        return True


def targets(urls: Sequence[str]) -> list[str]:
    """How messages and metrics call the URLs: without scheme and query, which may hold a secret, and each once."""
    found: list[str] = []
    for url in urls:
        split = urlsplit(url)
        name = f"{split.netloc}{split.path}"
        found.append(f"{name} ({len(found) + 1})" if name in found else name)
    return found


def trusting(candidate: str, config: TelemetryConfig) -> ssl.SSLContext | None:
    """The one context for all https URLs; None if there are none.

    Raises:
        ConfigError: the file of authorities cannot be used.
    """
    if not config.ca_file and not any(url.startswith("https:") for url in config.urls):
        return None
    try:
        return ssl.create_default_context(cafile=config.ca_file or None)
    except (OSError, ssl.SSLError) as error:
        why = error.strerror if isinstance(error, FileNotFoundError | PermissionError) else "holds no certificates"
        raise ConfigError(
            f"candidates.{candidate}.telemetry.ca_file: {config.ca_file}: {why}; give a PEM file of authorities."
        ) from None
