"""Whether strangers could use the sidecar: what an address that others reach lacks."""

import ipaddress

from sidecar.door.settings import TlsConfig
from sidecar.errors import ConfigError

UNIX = "unix:"


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches HOST:PORT: 127.0.0.0/8, [::1], localhost, or a unix socket."""
    if address.startswith(UNIX):
        return True
    host = address.rpartition(":")[0].removeprefix("[").removesuffix("]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name may lead anywhere


def lacking(listen: str, tls: TlsConfig | None, tokens: str) -> str:
    """What is missing before strangers are kept out, in words; empty if nothing is."""
    if is_loopback(listen):
        return ""
    if tls is None:
        return "calls and tokens are not encrypted" if tokens else "calls are neither encrypted nor checked"
    if not (tokens or tls.client_ca):
        return "anyone may call it"
    return ""


def check_exposure(listen: str, tls: TlsConfig | None, tokens: str, *, insecure: bool) -> None:
    """Refuses to be open to strangers unless that was said in so many words.

    Raises:
        ConfigError: it is; the message names the remedies.
    """
    missing = lacking(listen, tls, tokens)
    if missing and not insecure:
        raise ConfigError(
            f"listen: {listen!r} is reachable from elsewhere, and {missing}: listen on 127.0.0.1, or give [tls] with "
            "certificate and key, together with tokens or tls.client_ca; or say --insecure (insecure = true)."
        )
