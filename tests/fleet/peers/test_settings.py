from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config import Config, load_config
from sidecar.errors import ConfigError
from sidecar.fleet.peers.settings import PeersConfig, shown

SECRET = "hunter2"  # noqa: S105 - of nobody


def test_by_default_there_are_no_peers_and_nothing_to_do() -> None:
    assert PeersConfig().checked().url == ""
    assert not Config().observes()


def test_everything_that_a_file_says_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "router.toml"
    path.write_text(
        """
        [fleet.peers]
        url = "rediss://router@cache.internal:6380/2"
        password_file = "secret"
        ca_file = "ca.pem"
        group = "eu-west"
        name = "router-7"
        interval_ms = 100
        forget_seconds = 1.5
        """
    )
    config = load_config(path)
    assert config.fleet.peers == PeersConfig(
        url="rediss://router@cache.internal:6380/2",
        password_file="secret",  # noqa: S106 - a path
        ca_file="ca.pem",
        group="eu-west",
        name="router-7",
        interval_ms=100.0,
        forget_seconds=1.5,
    )
    assert config.observes()


@pytest.mark.parametrize(
    "url",
    ["redis://cache", "redis://cache:6379", "redis://cache:6379/0", "rediss://[::1]:1/15", "unix:///run/valkey.sock"],
)
def test_addresses_of_servers_are_taken(url: str) -> None:
    PeersConfig(url=url).checked()


@pytest.mark.parametrize(
    "url",
    [
        "cache:6379",
        f"http://:{SECRET}@cache:6379/0",
        f"redis://:{SECRET}@",
        f"redis://:{SECRET}@cache:0",
        f"redis://:{SECRET}@cache:port/0",
        f"redis://:{SECRET}@cache/one",
        f"redis://:{SECRET}@cache/0/1",
        f"redis://:{SECRET}@cache/0?socket_timeout=9",
        f"redis://:{SECRET}@cache/0#1",
        f"redis://:{SECRET}@[::1/0",
        f"redis://:{SECRET}@cache /0",
        "unix://host/path",
        "unix://",
    ],
)
def test_what_is_no_address_is_refused_and_no_password_repeated(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^fleet\.peers\.url: .*give redis://HOST:PORT/DATABASE") as refused:
        PeersConfig(url=url).checked()
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (PeersConfig(url=f"redis://:{SECRET}@cache", password_file="x"), "password_file is set"),  # noqa: S106 - a path
        (PeersConfig(url="redis://cache", ca_file="ca.pem"), r"ca_file: .*rediss"),
        (PeersConfig(url="redis://cache", group="a b"), "group: 'a b'"),
        (PeersConfig(url="redis://cache", group=""), "group: ''"),
        (PeersConfig(url="redis://cache", name="a\nb"), "name: give"),
        (PeersConfig(url="redis://cache", name="x" * 65), "name: give"),
        (PeersConfig(url="redis://cache", interval_ms=1000.0), "forget_seconds is 2: .*at least 3,"),
    ],
)
def test_what_does_not_fit_is_refused_by_name_and_with_a_remedy(settings: PeersConfig, words: str) -> None:
    with pytest.raises(ConfigError, match=rf"^fleet\.peers[.:].*{words}|^fleet\.peers[.:] ?{words}") as refused:
        settings.checked()
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("told", [{"interval_ms": 10}, {"forget_seconds": 0}, {"forget_seconds": 61}, {"hosts": []}])
def test_values_out_of_range_and_unknown_keys_are_refused(told: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(told, PeersConfig)


@given(
    st.text(st.characters(codec="ascii", exclude_characters="/?#@[] "), min_size=1).filter(str.isprintable),
    st.sampled_from(["redis", "rediss"]),
)
def test_where_the_server_is_can_be_shown_without_its_password(secret: str, scheme: str) -> None:
    assert shown(f"{scheme}://user:{secret}@cache:6380/2") == f"{scheme}://cache:6380/2"
    assert shown(f"{scheme}://:{secret}@[::1]/2") == f"{scheme}://[::1]:6379/2"
