"""What the observer process tells the control process, for /metrics. One way, once a second."""

import asyncio
import logging

import msgspec

from sidecar.control import frames
from sidecar.control.frames import LinkBroken
from sidecar.control.rising import Rising
from sidecar.fleet.peers.tally import PeersTally
from sidecar.fleet.sources.tally import Tally
from sidecar.fleet.telemetry import Telemetry

log = logging.getLogger(__name__)


COUNTS = ("decisions", "outcomes", "repeated", "unknown", "set_aside", "spoilt")


class Importing(msgspec.Struct, frozen=True):
    """How the ledger's importer fares, since it began.

    Attributes:
        decisions: added to the store.
        outcomes: added to the store.
        repeated: outcomes that were there already.
        unknown: outcomes whose decision was not there a minute later.
        set_aside: records that the store refused or nobody could read.
        spoilt: files of journals that were changed after they were written.
        backlog_bytes: of journals that are not imported yet.
        away: whether the store cannot be had.
    """

    decisions: int
    outcomes: int
    repeated: int
    unknown: int
    set_aside: int
    spoilt: int
    backlog_bytes: int
    away: bool


class Seen(msgspec.Struct, frozen=True):
    """What the observer sees.

    Attributes:
        tallies: how its sources fare, since it began.
        telemetry: by candidate, what was observed last.
        importing: how the ledger's importer fares; None where there is none.
        peers: how the exchange with other sidecars fares; None: there is none.
    """

    tallies: tuple[Tally, ...] = ()
    telemetry: dict[str, Telemetry] = {}
    importing: Importing | None = None
    peers: PeersTally | None = None


_decoder: "msgspec.msgpack.Decoder[Seen]" = msgspec.msgpack.Decoder(Seen)


class Observed:
    """Hears the observer process.

    Attributes:
        seen: what it told last. It stays when the observer ends: ages go on. What the importer counted goes on too when
            the next observer begins anew.
    """

    def __init__(self) -> None:
        self.seen = Seen()
        self._rising = Rising()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hears it until it is gone."""
        try:
            while True:
                self.seen = self._risen(await frames.read(reader, _decoder))
        except LinkBroken as broken:
            log.debug("%s", broken)
        finally:
            writer.close()

    def _risen(self, seen: Seen) -> Seen:
        if seen.importing is None:
            return seen
        counts = {name: int(self._rising(name, getattr(seen.importing, name))) for name in COUNTS}
        return msgspec.structs.replace(seen, importing=msgspec.structs.replace(seen.importing, **counts))
