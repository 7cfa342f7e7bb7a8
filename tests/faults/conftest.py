"""Sidecars to break on purpose."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.sidecars import Sidecar

SETTINGS = """
safe_candidate = "large"
drain_seconds = 5.0
{more}
[[candidates]]
name = "small"
[[candidates]]
name = "medium"
[[candidates]]
name = "large"
[gate]
sample = 32
"""

StartSidecar = Callable[..., Sidecar]


@pytest.fixture
def settings(tmp_path: Path, registry: Path) -> Callable[..., Path]:
    """Writes a configuration; `settings("hang_seconds = 1")`."""

    def write(more: str = "", directory: Path = registry) -> Path:
        path = tmp_path / "router.toml"
        path.write_text(SETTINGS.format(more=f'registry = "{directory}"\n{more}'))
        return path

    return write


@pytest.fixture
def serve(settings: Callable[..., Path]) -> Iterator[StartSidecar]:
    """Starts sidecars; `serve(workers, transport, more="hang_seconds = 1")`."""
    running: list[Sidecar] = []

    def start(workers: int = 1, transport: str = "http2", **given: Any) -> Sidecar:
        sidecar = Sidecar(settings(**given), "--workers", str(workers), "--transport", transport)
        running.append(sidecar)
        return sidecar

    yield start
    for one in running:
        one.close()
