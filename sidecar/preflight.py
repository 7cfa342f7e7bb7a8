"""What `serve` would find out about a configuration when it starts, found out without starting."""

import os
from collections.abc import Sequence
from pathlib import Path

from sidecar.bundle.manifest import TrainedCandidate
from sidecar.bundle.registry import Registry
from sidecar.config import Config
from sidecar.door.check import check_door
from sidecar.errors import ConfigError
from sidecar.ledger.noted import prompt_rule
from sidecar.ledger.settings import POSTGRESQL, LedgerConfig, location
from sidecar.routing.candidates import CandidateTable, join
from sidecar.server import load_bundle


def preflight(config: Config) -> tuple[CandidateTable, Sequence[TrainedCandidate]]:
    """Checks all that can be checked while nothing runs; writes nothing and calls nobody.

    Args:
        config: checked.

    Returns:
        The candidates, the bundle's and the configuration's joined; and the bundle's alone.

    Raises:
        RouterError: `serve` would not start, or would answer DEGRADED.
    """
    check_door(config)
    if config.ledger.directory:
        _check_ledger(config.ledger)
    if config.fleet.peers.url:
        from sidecar.fleet.peers import server  # noqa: F401, PLC0415 - says which package is missing
    trained = load_bundle(config, _pointed(config)).manifest.candidates
    return join(config, trained), trained


def _pointed(config: Config) -> Path | None:
    """Directory of the bundle that the registry's pointer names; None: no registry, or it names none."""
    if not config.registry:
        return None
    registry = Registry(Path(config.registry))
    name = registry.active()
    return registry.path(name) if name else None


def _check_ledger(config: LedgerConfig) -> None:
    prompt_rule(config)
    kind, _ = location(config)
    if kind == POSTGRESQL:
        from sidecar.ledger import postgres  # noqa: F401, PLC0415 - says which package is missing
    directory = Path(config.directory)
    there = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(
            f"ledger.directory: {there} cannot be written; name another, or give it to the sidecar's user."
        )
