import pytest

from sidecar.errors import ConfigError
from sidecar.fleet.sources.engines import BUILT_IN, engines
from sidecar.fleet.sources.expression import parse
from sidecar.fleet.sources.settings import EngineConfig
from sidecar.fleet.telemetry import Telemetry


def test_an_engines_figures_are_fields_of_telemetry() -> None:
    assert set(EngineConfig.__struct_fields__) <= set(Telemetry._fields)


def test_all_built_in_engines_tell_how_many_run_and_wait() -> None:
    for name, engine in engines({}).items():
        assert {"running", "waiting"} <= engine.figures.keys(), name
    assert engines({}).keys() == {"vllm", "sglang", "tgi", "llamacpp", "orca"}


def test_a_configured_figure_takes_the_built_in_ones_place_and_leaves_the_others() -> None:
    vllm = engines({"vllm": EngineConfig(waiting="mine:waiting")})["vllm"]
    assert vllm.figures["waiting"] == parse("mine:waiting")
    assert vllm.figures["running"] == parse(BUILT_IN["vllm"].running)
    assert "mine:waiting" in vllm.wanted()


def test_an_engine_of_ones_own_has_only_what_is_configured() -> None:
    trt = engines({"trt": EngineConfig(running='trt{request_type="scheduled"}')})["trt"]
    assert list(trt.figures) == ["running"]


@pytest.mark.parametrize(
    ("name", "config", "words"),
    [
        ("vllm", EngineConfig(waiting="a |"), r"fleet\.engines\.vllm\.waiting: a metric's name is missing"),
        ("mine", EngineConfig(), r"fleet\.engines\.mine: names no metric"),
        ("orca", EngineConfig(waiting="rate(a)"), r"fleet\.engines\.orca\.waiting: a load report has no counters"),
    ],
)
def test_what_cannot_be_right_is_refused_by_its_key(name: str, config: EngineConfig, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        engines({name: config})
