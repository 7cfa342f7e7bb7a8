"""What the configuration says about the fleet."""

import msgspec

from sidecar.fleet.sources.settings import EngineConfig


class FleetConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the live state of the candidates is kept.

    Attributes:
        engines: metric names by kind of model server, beside the built-in ones; what is given here wins.
    """

    engines: dict[str, EngineConfig] = {}
