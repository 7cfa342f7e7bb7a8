"""What the observer process tells the control process, for /metrics. One way, once a second."""

import asyncio
import logging

import msgspec

from sidecar.control import frames
from sidecar.control.frames import LinkBroken
from sidecar.fleet.peers.tally import PeersTally
from sidecar.fleet.sources.tally import Tally
from sidecar.fleet.telemetry import Telemetry

log = logging.getLogger(__name__)


class Seen(msgspec.Struct, frozen=True):
    """What the observer sees.

    Attributes:
        tallies: how its sources fare, since it began.
        telemetry: by candidate, what was observed last.
        peers: how the exchange with other sidecars fares; None: there is none.
    """

    tallies: tuple[Tally, ...] = ()
    telemetry: dict[str, Telemetry] = {}
    peers: PeersTally | None = None


_decoder: "msgspec.msgpack.Decoder[Seen]" = msgspec.msgpack.Decoder(Seen)


class Observed:
    """Hears the observer process.

    Attributes:
        seen: what it told last. It stays when the observer ends: ages go on.
    """

    def __init__(self) -> None:
        self.seen = Seen()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hears it until it is gone."""
        try:
            while True:
                self.seen = await frames.read(reader, _decoder)
        except LinkBroken as broken:
            log.debug("%s", broken)
        finally:
            writer.close()
