from pathlib import Path
from typing import Annotated

import msgspec
import pytest

from benchmarks.fleet import settings
from benchmarks.fleet.candidates import FLEET
from sidecar.config import CandidateConfig, Config, load_config
from sidecar.errors import ConfigError


class Inner(msgspec.Struct, frozen=True):
    wait_seconds: float = 4.0
    calls: int = 3


class Outer(msgspec.Struct):
    name: str = ""
    half_life_seconds: float = 60.0
    bounded_seconds: Annotated[float, msgspec.Meta(ge=2.0)] = 10.0
    merge_ms: float = 5.0
    tie_ms: float = 10.0
    inner: Inner = Inner()
    maybe: Inner | None = None


def test_seconds_are_shortened_as_far_as_their_bounds_allow_and_nothing_else_is() -> None:
    assert settings.hastened(Outer, 20.0) == {
        "half_life_seconds": 3.0, "bounded_seconds": 2.0, "tie_ms": 0.5, "inner": {"wait_seconds": 0.2}
    }  # fmt: skip


def test_at_the_speed_of_real_time_all_defaults_hold() -> None:
    assert settings.hastened(Outer, 1.0) == {}


def test_a_table_is_found_where_it_may_be_left_out() -> None:
    assert settings.section(Outer, "maybe") is Inner
    assert settings.section(Outer, "inner") is Inner
    assert settings.offers(Outer, "maybe")
    assert not settings.offers(Outer, "absent")


@pytest.mark.parametrize("speed", [1.0, 20.0])
def test_the_sidecar_takes_what_is_written_and_reads_the_same(tmp_path: Path, speed: float) -> None:
    urls = {
        candidate.name: f"http://127.0.0.1:1/{candidate.name}/metrics" for candidate in FLEET if not candidate.hosted
    }
    table = settings.sighted(FLEET, speed, workers=2, metrics=urls, ledger=tmp_path)
    config = load_config(settings.write(tmp_path / "sidecar.toml", table))
    assert config.workers == 2
    assert [entry.name for entry in config.candidates] == [candidate.name for candidate in FLEET]
    for entry, candidate in zip(config.candidates, FLEET, strict=True):
        assert entry.first_token_seconds == pytest.approx(candidate.first_token_s / speed)
        assert entry.seconds_per_output_token is not None
        assert candidate.token_s < entry.seconds_per_output_token * speed < candidate.token_s * (1 + candidate.slowdown)


def test_what_the_sidecar_would_refuse_is_refused_here(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no_such_key"):
        settings.write(tmp_path / "sidecar.toml", {"no_such_key": 1})


def test_every_kind_of_value_survives(tmp_path: Path) -> None:
    table = {
        "insecure": True,
        "workers": 3,
        "hang_seconds": 2.5,
        "segments": {"a/b c": {"policy": "quality"}},
        "bundle": 'x"y',
    }
    config = load_config(settings.write(tmp_path / "sidecar.toml", table))
    assert (config.insecure, config.workers, config.hang_seconds, config.bundle) == (True, 3, 2.5, 'x"y')
    assert config.segments["a/b c"].policy == "quality"


def test_a_blind_sidecar_has_neither_live_state_nor_ledger() -> None:
    table = settings.blind(FLEET, 1.0)
    assert not {"fleet", "ledger"} & table.keys()
    assert all(not {"telemetry", "concurrency"} & entry.keys() for entry in table["candidates"])


def test_one_that_sees_has_what_this_version_offers(tmp_path: Path) -> None:
    urls = {FLEET[2].name: "http://127.0.0.1:1/metrics"}
    table = settings.sighted(FLEET, 20.0, metrics=urls, ledger=tmp_path)
    assert ("fleet" in table) == settings.offers(Config, "fleet")
    assert ("ledger" in table) == settings.offers(Config, "ledger")
    entry = table["candidates"][2]
    assert ("concurrency" in entry) == settings.offers(CandidateConfig, "concurrency")
    assert ("telemetry" in entry) == settings.offers(CandidateConfig, "telemetry")
    assert "telemetry" not in table["candidates"][0]
