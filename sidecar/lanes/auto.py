"""Chooses the lane, once, at the start."""

from typing import NamedTuple

from sidecar.errors import ConfigError
from sidecar.lanes.fast import FastLane
from sidecar.lanes.portable import PortableLane
from sidecar.lanes.private import probe


class LaneChoice(NamedTuple):
    """The lane's class, and why it was chosen."""

    make: type[FastLane] | type[PortableLane]
    reason: str


def choose_lane(wanted: str) -> LaneChoice:
    """The lane for `fast`, `portable` or `auto`.

    Raises:
        ConfigError: `fast` is demanded, but cannot be had.
    """
    if wanted == "portable":
        return LaneChoice(PortableLane, "configured")
    obstacle = probe()
    if not obstacle:
        return LaneChoice(FastLane, "configured" if wanted == "fast" else "the probe of grpcio succeeded")
    if wanted == "fast":
        raise ConfigError(f"lane: fast is demanded, but {obstacle}; install another grpcio or set lane to auto.")
    return LaneChoice(PortableLane, obstacle)
