import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from sidecar.config import Config
from sidecar.control import CONFIG
from sidecar.errors import ConfigError
from sidecar.supervisor import Supervisor, _check_transport
from tests.descendants import descendants


def test_the_configuration_is_for_nobody_elses_eyes_and_whole_at_all_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = Supervisor(Config(), tmp_path, say=lambda _line: None)
    supervisor._runtime = tmp_path
    written: list[Any] = []
    monkeypatch.setattr(Path, "write_bytes", _noting(written))
    supervisor._write(Config(workers=3))
    assert (tmp_path / CONFIG).stat().st_mode & 0o777 == 0o600
    assert json.loads((tmp_path / CONFIG).read_bytes())["workers"] == 3
    assert written
    assert CONFIG not in written
    assert [path.name for path in tmp_path.iterdir()] == [CONFIG]


def _noting(written: list[Any]) -> Any:
    real = Path.write_bytes

    def write(self: Path, data: bytes) -> int:
        written.append(self.name)
        return real(self, data)

    return write


def test_a_bundle_that_nobody_can_serve_stops_the_start_and_leaves_nobody(tmp_path: Path) -> None:
    before = descendants()
    config = Config(bundle=str(tmp_path), listen="127.0.0.1:0", workers=2)
    with pytest.raises(ConfigError, match=r"manifest\.json"):
        asyncio.run(Supervisor(config, tmp_path, say=lambda _line: None).run())
    assert descendants() == before


def test_a_change_of_transport_needs_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.supervisor.hands_down_listeners", lambda config: config.workers == 2)
    with pytest.raises(ConfigError, match="transport: is not changed by SIGHUP"):
        _check_transport(Config(workers=1), Config(workers=2))
    _check_transport(Config(workers=2), Config(workers=2))
