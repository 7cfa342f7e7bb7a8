import pytest

from sidecar.door.exposure import check_exposure, is_loopback, lacking
from sidecar.door.settings import TlsConfig
from sidecar.errors import ConfigError

TLS = TlsConfig(certificate="c", key="k")
MUTUAL = TlsConfig(certificate="c", key="k", client_ca="ca")
OPEN = "0.0.0.0:8470"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.8.9.1:1", "[::1]:1", "localhost:1", "unix:/run/router.sock"])
def test_these_are_loopback(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "127.evil.example:1", "router:1", "[fe80::1]:1", ":1", "localhost."],
)
def test_these_are_not(address: str) -> None:
    assert not is_loopback(address)


@pytest.mark.parametrize(
    ("tls", "tokens", "missing"),
    [
        (None, "", "calls are neither encrypted nor checked"),
        (None, "tokens.toml", "calls and tokens are not encrypted"),
        (TLS, "", "anyone may call it"),
        (TLS, "tokens.toml", ""),
        (MUTUAL, "", ""),
        (MUTUAL, "tokens.toml", ""),
    ],
)
def test_an_address_that_others_reach_needs_tls_and_either_tokens_or_client_certificates(
    tls: TlsConfig | None, tokens: str, missing: str
) -> None:
    assert lacking(OPEN, tls, tokens) == missing
    assert lacking("127.0.0.1:8470", tls, tokens) == ""
    check_exposure(OPEN, tls, tokens, insecure=True)
    if missing:
        with pytest.raises(ConfigError, match=missing) as caught:
            check_exposure(OPEN, tls, tokens, insecure=False)
        for remedy in ("127.0.0.1", "[tls]", "tokens", "client_ca", "--insecure"):
            assert remedy in str(caught.value)
    else:
        check_exposure(OPEN, tls, tokens, insecure=False)
