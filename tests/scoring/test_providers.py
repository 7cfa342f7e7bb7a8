import pytest

from sidecar.errors import ConfigError
from sidecar.scoring.providers import CPU, CUDA, TENSORRT, Wanted, choose, demand

BOTH = [TENSORRT, CUDA, CPU]


@pytest.mark.parametrize(
    ("wanted", "available", "chosen"),
    [
        ("auto", BOTH, CUDA),
        ("auto", [CPU], CPU),
        ("cpu", BOTH, CPU),
        ("cuda", BOTH, CUDA),
        ("tensorrt", BOTH, TENSORRT),
    ],
)
def test_an_encoder_goes_where_it_is_wanted(wanted: Wanted, available: list[str], chosen: str) -> None:
    choice = choose(wanted, "encoder", available)
    assert choice.provider == chosen
    assert choice.demanded == (wanted in ("cuda", "tensorrt"))
    assert choice.reason


@pytest.mark.parametrize("wanted", ["auto", "cpu", "cuda", "tensorrt"])
def test_a_static_model_stays_on_the_cpu_without_being_asked(wanted: Wanted) -> None:
    assert choose(wanted, "static", BOTH).provider == CPU


@pytest.mark.parametrize(("wanted", "available"), [("cuda", [CPU]), ("tensorrt", [CUDA, CPU])])
def test_what_is_demanded_and_absent_is_refused_with_the_remedy(wanted: Wanted, available: list[str]) -> None:
    with pytest.raises(ConfigError, match=f"provider: {wanted} is demanded.*extra `gpu`.*set provider to auto"):
        demand(wanted, available)


@pytest.mark.parametrize("wanted", ["auto", "cpu"])
def test_what_is_not_demanded_may_be_absent(wanted: Wanted) -> None:
    demand(wanted, [CPU])
