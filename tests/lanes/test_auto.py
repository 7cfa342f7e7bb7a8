import inspect
import re
from types import ModuleType, SimpleNamespace

import grpc
import pytest

from sidecar.errors import ConfigError
from sidecar.lanes import calls, fast, private
from sidecar.lanes.auto import choose_lane
from sidecar.lanes.fast import FastLane
from sidecar.lanes.portable import PortableLane


def test_the_fast_lane_is_chosen_where_its_probe_succeeds() -> None:
    assert private.probe() == ""
    assert choose_lane("auto").make is FastLane


def test_the_portable_lane_is_chosen_when_configured() -> None:
    assert choose_lane("portable") == (PortableLane, "configured")


def test_an_untested_grpcio_gets_the_portable_lane_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc, "__version__", "9.1.0")
    choice = choose_lane("auto")
    assert choice.make is PortableLane
    assert "grpcio 9.1.0 is outside the tested range" in choice.reason


def test_a_grpcio_without_the_private_layer_gets_the_portable_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "cygrpc", None)
    choice = choose_lane("auto")
    assert choice.make is PortableLane
    assert "lacks what the fast lane needs" in choice.reason


def test_demanding_the_fast_lane_where_it_cannot_be_had_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "cygrpc", None)
    with pytest.raises(ConfigError, match="lane: fast is demanded"):
        choose_lane("fast")


def used(module: ModuleType) -> set[str]:
    """What a module takes from the private layer."""
    return set(re.findall(r"\bcygrpc\.(\w+)", inspect.getsource(module)))


@pytest.mark.parametrize("name", sorted(used(fast) | used(calls)))
def test_whatever_the_fast_lane_uses_of_the_private_layer_the_probe_misses(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = {other: value for other, value in vars(private.cygrpc).items() if other != name}
    monkeypatch.setattr(private, "cygrpc", SimpleNamespace(**rest))
    assert name in private.probe()
