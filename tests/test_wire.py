import importlib.util
from pathlib import Path

import pytest

from sidecar.lanes.lane import SERVICE
from sidecar.routing.decision import Reason
from sidecar.wire import router_pb2 as pb

ROOT = Path(__file__).parents[1]


def test_regenerating_the_contracts_code_changes_nothing(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    specification = importlib.util.spec_from_file_location("generate", ROOT / "proto" / "generate.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    module.generate(tmp_path)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_text() for path in (ROOT / "sidecar" / "wire").glob("*_pb2*.py*")}
    assert made == kept


def test_the_cores_reasons_are_the_contracts() -> None:
    on_the_wire = {name.removeprefix("REASON_"): number for name, number in pb.Reason.items() if number}
    assert on_the_wire == {reason.name: reason.value for reason in Reason}


def test_the_service_is_named_as_in_the_contract() -> None:
    assert pb.DESCRIPTOR.services_by_name["RouterService"].full_name == SERVICE
