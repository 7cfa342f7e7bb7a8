"""ORCA load reports: what the message of github.com/cncf/xds says, whichever way it came."""

from collections.abc import Iterator
from math import inf, isnan
from typing import Any

from sidecar.errors import InvalidRequest
from sidecar.fleet.sources.engines import Engine
from sidecar.fleet.sources.reading import Replica, observe
from sidecar.fleet.sources.samples import Samples
from sidecar.fleet.telemetry import Telemetry

SCALARS = ("cpu_utilization", "mem_utilization", "rps_fractional", "eps", "application_utilization")
MAPS = ("utilization", "named_metrics")
# Of a caller's words no more than this is repeated in an error.
MOST_KEY_CHARS = 64


def samples_of(report: Any) -> Samples:
    """The figures of a report under the names by which `fleet.engines.orca` calls them.

    Args:
        report: an OrcaLoadReport or a LoadReport. A plain figure of 0 is one that was left out, says the standard.
    """
    found: dict[str, list[tuple[dict[str, str], float]]] = {
        name: [({}, value)] for name in SCALARS if (value := getattr(report, name))
    }
    for name in MAPS:
        for key, value in getattr(report, name).items():
            found[f"{name}.{key}"] = [({}, value)]
    return found


def telemetry_of(report: Any, engine: Engine, unix: float) -> Telemetry:
    """One report as an observation; see observe."""
    replica = Replica(engine, 0.0)
    replica.hear(samples_of(report), 0.0)
    return observe(engine, [replica], unix)


def check_report(report: Any, field: str) -> None:
    """Whether the figures of a report are figures.

    Raises:
        InvalidRequest: one is negative or no number; the message begins with its field.
    """
    for name, value in _figures(report):
        if not 0.0 <= value < inf:
            raise InvalidRequest(f"{field}.{name}: is {value:g}; give a number that is not negative.")


def understood(telemetry: Telemetry) -> list[str]:
    """The names of the figures that are known, when it was observed aside."""
    return [
        name
        for name, value in zip(telemetry._fields, telemetry, strict=True)
        if not isnan(value) and name != "observed_unix"
    ]


def _figures(report: Any) -> Iterator[tuple[str, float]]:
    for name in SCALARS:
        yield name, getattr(report, name)
    for name in MAPS:
        for key, value in getattr(report, name).items():
            yield f"{name}[{key[:MOST_KEY_CHARS]!r}]", value
