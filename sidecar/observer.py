"""The observer process: reads the telemetry of the candidates, and does other work that nobody waits for.

Started by the supervisor if there is anything for it to do, and again by it whenever it ends; `python -m
sidecar.observer` is not for hands. Workers neither talk with it nor wait for it: while it is gone, what they know of the
fleet grows old, and that is all.
"""

import asyncio
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgspec

from sidecar import logs
from sidecar.config import Config
from sidecar.control import CONFIG, CONFIG_FAULT, OBSERVER, frames
from sidecar.control.observed import Importing, Seen
from sidecar.errors import ConfigError
from sidecar.fleet.peers.tally import PeersTally
from sidecar.fleet.publisher import Publisher
from sidecar.fleet.regions import FLEET
from sidecar.fleet.sources.build import Source, sources_of
from sidecar.fleet.sources.prometheus import Publish
from sidecar.fleet.table import FleetTable
from sidecar.fleet.telemetry import Telemetry
from sidecar.fleet.writer import Writer

log = logging.getLogger(__name__)

# How often it tells the control process what it sees.
TELL_S = 1.0
BEAT_S = 0.5
NICER = 10
# Before something is done again that failed in a way that was not foreseen.
AGAIN_S = 1.0


class Work(Protocol):
    """Something that is done in a thread of its own."""

    def run(self, stop: threading.Event) -> None:
        """Works until `stop` is set, and brings what it is at to a good end then."""
        ...


class Observer:
    """The observer process.

    Args:
        config: checked.
        publish: where observations go, beside the control process.
        works: what else is to be done, each in a thread. What fails is logged and begun again.
        importing: how the ledger's importer fares; None where there is none.
        peers: how the exchange with other sidecars fares; None: there is none.
        tell_s: between two messages to the control process.
        again_s: before what failed is begun again.

    Attributes:
        latest: by candidate, what was observed last.

    Raises:
        ConfigError: as sources_of.
    """

    def __init__(
        self,
        config: Config,
        publish: Sequence[Publish] = (),
        works: Sequence[Work] = (),
        *,
        importing: Callable[[], Importing] | None = None,
        peers: PeersTally | None = None,
        tell_s: float = TELL_S,
        again_s: float = AGAIN_S,
    ) -> None:
        self.latest: dict[str, Telemetry] = {}
        self._publish = tuple(publish)
        self._sources = sources_of(config, self._take)
        self._works = works
        self._importing = importing
        self._peers = peers
        self._tell_s = tell_s
        self._again_s = again_s

    async def run(self, control: Path, stop: asyncio.Event) -> None:
        """Observes until it is told to stop; returns when all works have ended.

        Args:
            control: the socket where the control process hears it.
            stop: to be set.
        """
        ending = threading.Event()
        threads = [
            threading.Thread(target=self._labour, args=(work, ending), name=type(work).__name__.lower())
            for work in self._works
        ]
        for thread in threads:
            thread.start()
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(self._keep(source)) for source in self._sources]
        tasks.append(loop.create_task(self._tell(control)))
        try:
            await stop.wait()
        finally:
            ending.set()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for thread in threads:
                await asyncio.to_thread(thread.join)

    def seen(self) -> Seen:
        """What it sees at present."""
        tallies = tuple(tally for source in self._sources for tally in source.tallies)
        return Seen(tallies, self.latest, self._importing() if self._importing else None, self._peers)

    def _take(self, candidate: str, observed: Telemetry) -> None:
        self.latest[candidate] = observed
        for publish in self._publish:
            publish(candidate, observed)

    async def _keep(self, source: Source) -> None:
        while True:
            try:
                await source.run()
            except Exception:
                log.exception("a source of telemetry failed and is begun again")
            await asyncio.sleep(self._again_s)

    def _labour(self, work: Work, ending: threading.Event) -> None:
        while not ending.is_set():
            try:
                work.run(ending)
            except Exception:
                log.exception("%s failed and is begun again", type(work).__name__)
            ending.wait(self._again_s)

    async def _tell(self, control: Path) -> None:
        while True:
            with suppress(OSError):  # the control process is not there; the supervisor sees to that
                await self._tell_while_heard(control)
            await asyncio.sleep(self._tell_s)

    async def _tell_while_heard(self, control: Path) -> None:
        _, writer = await asyncio.open_unix_connection(control)
        try:
            while True:
                writer.write(frames.encode(self.seen()))
                await writer.drain()
                await asyncio.sleep(self._tell_s)
        finally:
            writer.close()


class Feed:
    """Brings observations into the fleet table, in the observer's own section. A Work: it gives signs of life.

    Args:
        config: checked.
        runtime: where the table is.

    Attributes:
        table: the fleet's.

    Raises:
        ConfigError: there is none, or no section is free.
    """

    def __init__(self, config: Config, runtime: Path) -> None:
        self.table = FleetTable.attach(runtime / FLEET)
        # The last one is that of other sidecars.
        self._writer = Writer(self.table, self.table.writers - 2, time.monotonic)
        self._publisher = Publisher(self._writer, config.fleet, time.monotonic, time.time)
        self._models = {entry.name: entry.model or entry.name for entry in config.candidates}

    def publish(self, candidate: str, observed: Telemetry) -> None:
        """Takes what was observed of a candidate. In one thread."""
        self._publisher.publish(self._models[candidate], observed)

    def run(self, stop: threading.Event) -> None:
        """Gives signs of life."""
        while not stop.wait(BEAT_S):
            self._writer.beat()


async def _main(config: Config, runtime: Path) -> None:
    feed = Feed(config, runtime)
    works: list[Work] = [feed]
    importing: Callable[[], Importing] | None = None
    if config.ledger.directory:
        from sidecar.ledger.importer import Importer  # noqa: PLC0415 - the store's library, for those who have one

        importer = Importer(config.ledger)
        works.append(importer)
        importing = partial(_importing, importer.imported)
    tally: PeersTally | None = None
    if config.fleet.peers.url:
        from sidecar.fleet.peers.work import Peers  # noqa: PLC0415 - the server's library, for those who have one

        peers = Peers(config.fleet, feed.table, runtime)
        works.append(peers)
        tally = peers.tally
    observer = Observer(config, [feed.publish], works, importing=importing, peers=tally)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    threading.Thread(target=_end_with_the_supervisor, name="lifeline", daemon=True).start()
    _say({})
    await observer.run(runtime / OBSERVER, stop)


def _importing(done: Any) -> Importing:
    fields = {name: getattr(done, name) for name in Importing.__struct_fields__}
    return Importing(**{**fields, "away": bool(done.away)})


def _end_with_the_supervisor() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _say(status: dict[str, str]) -> None:
    print(json.dumps(status), flush=True)  # noqa: T201 - the supervisor listens
    os.dup2(2, 1)  # nobody reads what else may be printed there


def main() -> None:
    """Observes until SIGTERM. Argument: runtime directory.

    Tells on standard output, in one line of JSON, that it is at work, or why it cannot be.
    """
    runtime = Path(sys.argv[1])
    logs.begin("observer")
    os.nice(NICER)  # whoever answers requests goes first
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the supervisor says when to end
    config = msgspec.json.decode((runtime / CONFIG).read_bytes(), type=Config)
    try:
        asyncio.run(_main(config, runtime))
    except ConfigError as error:
        _say({"error": str(error)})
        sys.exit(CONFIG_FAULT)


if __name__ == "__main__":
    main()
