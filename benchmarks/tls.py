"""A certificate for the loopback, and a configuration that serves with it."""

from pathlib import Path
from typing import Any, NamedTuple

import grpc
import trustme

from benchmarks.h2load import GRPC, H2loadFault, Shot, grpc_shot

PATIENCE_S = 10.0


class Secured(NamedTuple):
    """What a server and its callers need for TLS.

    Attributes:
        config: TOML of the server, without a score cache.
        authority: PEM of the authority that callers trust.
    """

    config: Path
    authority: bytes


def secured(directory: Path) -> Secured:
    """Makes an authority and a certificate for 127.0.0.1 on P-256.

    Args:
        directory: the files are written here.
    """
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1", "localhost")
    certificate, key, config = (directory / name for name in ("tls.crt", "tls.key", "tls.toml"))
    certificate.write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
    key.write_bytes(leaf.private_key_pem.bytes())
    config.write_text(
        f'[cache]\nmax_bytes = 0\n\n[tls]\ncertificate = "{certificate}"\nkey = "{key}"\n', encoding="utf-8"
    )
    return Secured(config, authority.cert_pem.bytes())


def secure_shot(address: str, method: str, payload: bytes) -> Shot:
    """A unary gRPC call over TLS, for h2load; it takes any certificate."""
    plain = grpc_shot(address, method, payload)
    return Shot(plain.url.replace("http://", "https://", 1), plain.body, GRPC)


def check_status(address: str, method: str, payload: bytes, authority: bytes) -> None:
    """Makes one real call.

    Raises:
        H2loadFault: the gRPC status is not OK.
    """
    with grpc.secure_channel(address, grpc.ssl_channel_credentials(authority)) as channel:
        try:
            call: Any = channel.unary_unary(method)
            call(payload, timeout=PATIENCE_S)
        except grpc.RpcError as error:
            raise H2loadFault(f"{method} over TLS answers {error.code().name}; there is nothing to measure.") from None
