"""Bundles of both families change places under load, in whole sidecars."""

import shutil
import time
from pathlib import Path

import pytest

from tests.faults.conftest import StartSidecar
from tests.faults.sidecars import Load, until
from tests.faults.test_swaps import Acknowledged
from tests.lanes.conftest import TRANSPORTS


@pytest.mark.slow
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_static_encoder_static_under_load_loses_nothing(
    serve: StartSidecar, registry: Path, encoder_bundle: Path, transport: str
) -> None:
    shutil.copytree(encoder_bundle, registry / "encoder")
    sidecar = serve(2, transport)
    until(lambda: sidecar.all_connected(2))
    acknowledged = Acknowledged("1")
    with Load(sidecar, clients=6, retries=False) as load:
        for directory, version in (("encoder", "encoder"), ("v2", "2"), ("encoder", "encoder"), ("v1", "1")):
            began = time.monotonic()
            sidecar.activate(directory)
            acknowledged.switch(began, version)
            load.more(150)
    assert load.failed == {}, "\n".join(sidecar.lines[-60:])
    assert acknowledged.wrong(load.calls) == []
    assert {call.version for call in load.calls} == {"1", "2", "encoder"}
    info = sidecar.info()
    assert info.counters.degraded == 0
    assert info.execution_provider == "CPUExecutionProvider"
