"""The configuration of the sidecar beside a simulated fleet: a real TOML file, its times as fast as the simulation."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.fleet.candidates import Candidate
from sidecar.config import CandidateConfig, Config, load_config

SECONDS = "_seconds"
# Times of the candidates' world that are kept in milliseconds; others are the sidecar's own and stay as they are.
MILLISECONDS = ("tie_ms",)
# Of a server that the operator has measured with half of its slots busy.
USUAL_LOAD = 0.5

Table = dict[str, Any]


def offers(kind: type[msgspec.Struct], field: str) -> bool:
    """Whether this version of the sidecar has such a key."""
    return field in kind.__struct_fields__


def hastened(kind: type[msgspec.Struct], speed: float) -> Table:
    """Those defaults that are seconds, `speed` times as short, as far as their bounds allow; tables within likewise.

    Args:
        kind: a section of the configuration. Which of its keys are seconds is told by their names.
        speed: virtual seconds per real one.
    """
    changed: Table = {}
    if speed == 1.0:
        return changed
    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, msgspec.inspect.StructType)  # noqa: S101 - that is what a section is
    for field in info.fields:
        if isinstance(field.type, msgspec.inspect.StructType):
            if within := hastened(field.type.cls, speed):
                changed[field.name] = within
        elif (field.name.endswith(SECONDS) or field.name in MILLISECONDS) and isinstance(field.default, (int, float)):
            changed[field.name] = max(field.default / speed, _least(field.type))
    return changed


def _least(kind: msgspec.inspect.Type) -> float:
    if not isinstance(kind, (msgspec.inspect.FloatType, msgspec.inspect.IntType)):
        return 0.0
    return float(kind.ge if kind.ge is not None else kind.gt if kind.gt is not None else 0.0)


def section(kind: type[msgspec.Struct], field: str) -> type[msgspec.Struct]:
    """The type of a key that holds a table, be it one that may be left out."""
    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, msgspec.inspect.StructType)  # noqa: S101 - that is what a section is
    held = next(entry.type for entry in info.fields if entry.name == field)
    options = held.types if isinstance(held, msgspec.inspect.UnionType) else (held,)
    found: type[msgspec.Struct] = next(one.cls for one in options if isinstance(one, msgspec.inspect.StructType))
    return found


def blind(fleet: Sequence[Candidate], speed: float, *, workers: int = 1) -> Table:
    """What a load-blind sidecar is configured with: candidates and their usual times, no live state, no ledger."""
    return {
        "workers": workers,
        "candidates": [_candidate(candidate, speed) for candidate in fleet],
        # A late answer of the safe candidate would be a decision that nobody made.
        "overload": {"max_waiting": 8192, "max_queue_ms": 10_000.0},
        "fleet": {"enabled": False},
    }


def sighted(
    fleet: Sequence[Candidate],
    speed: float,
    *,
    workers: int = 1,
    metrics: Mapping[str, str] | None = None,
    ledger: Path | None = None,
) -> Table:
    """The same with the fleet's live state and the ledger, as far as this version of the sidecar has them.

    Args:
        fleet: the candidates.
        speed: virtual seconds per real one.
        workers: processes.
        metrics: URL of /metrics by name of the candidate.
        ledger: directory.
    """
    table = blind(fleet, speed, workers=workers)
    if offers(Config, "fleet"):
        table["fleet"] = hastened(section(Config, "fleet"), speed)
    if ledger is not None and offers(Config, "ledger"):
        table["ledger"] = {"directory": str(ledger)}
    for candidate, entry in zip(fleet, table["candidates"], strict=True):
        if offers(CandidateConfig, "concurrency"):
            entry["concurrency"] = candidate.slots
        url = (metrics or {}).get(candidate.name)
        if url and offers(CandidateConfig, "telemetry"):
            times = hastened(section(CandidateConfig, "telemetry"), speed)
            entry["telemetry"] = {"engine": "vllm", "urls": [url], "model_name": candidate.name, **times}
    return table


def usual_token_s(candidate: Candidate) -> float:
    """Virtual seconds per token that the operator has measured."""
    return candidate.token_s_at(1 + round(USUAL_LOAD * (candidate.slots - 1)))


def _candidate(candidate: Candidate, speed: float) -> Table:
    return {
        "name": candidate.name,
        "first_token_seconds": candidate.first_token_s / speed,
        "seconds_per_output_token": usual_token_s(candidate) / speed,
    }


def write(path: Path, table: Table) -> Path:
    """Writes the TOML file, and reads it as the sidecar will.

    Raises:
        ConfigError: the sidecar would refuse it.
    """
    path.write_text("\n".join(f"{key} = {_value(value)}" for key, value in table.items()) + "\n", encoding="utf-8")
    load_config(path)
    return path


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_value(entry)}" for key, entry in value.items()) + "}"
    return "[" + ", ".join(_value(entry) for entry in value) + "]"
