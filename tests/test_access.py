from pathlib import Path

import pytest

from sidecar.access import Access
from sidecar.errors import ConfigError

HERE, THERE = "127.0.0.1:8470", "router.example:8470"


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("rs_abc\n")
    return path


def test_a_token_comes_from_its_file(token: Path) -> None:
    assert Access(token_file=token).metadata(HERE) == (("authorization", "Bearer rs_abc"),)
    assert Access().metadata(HERE) == ()


def test_a_token_does_not_cross_the_network_in_clear(token: Path) -> None:
    with pytest.raises(ConfigError, match=r"unencrypted: give --tls-ca"):
        Access(token_file=token).metadata(THERE)
    assert Access(token_file=token, tls_ca=token).metadata(THERE)


@pytest.mark.parametrize("content", [b"", b"word", b"rs_a rs_b", b"rs_a\nrs_b\n", b"rs_\xff"])
def test_a_file_without_a_token_is_refused_and_not_quoted(token: Path, content: bytes) -> None:
    token.write_bytes(content)
    with pytest.raises(ConfigError, match=r"--token-file: .* holds no token") as caught:
        Access(token_file=token).metadata(HERE)
    assert "rs_a" not in str(caught.value)


def test_options_that_need_others_say_so(token: Path) -> None:
    for access in (Access(tls_cert=token), Access(tls_key=token), Access(tls_name="router")):
        with pytest.raises(ConfigError, match="--tls-ca is missing"):
            access.channel(HERE)
    with pytest.raises(ConfigError, match="--tls-cert and --tls-key go together"):
        Access(tls_ca=token, tls_cert=token).channel(HERE)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(ConfigError, match=r"--tls-ca: .*missing cannot be read"):
        Access(tls_ca=missing).channel(HERE)
    with pytest.raises(ConfigError, match=r"--token-file: .*missing cannot be read"):
        Access(token_file=missing).metadata(HERE)
