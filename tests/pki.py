"""Real certificates for tests, and a look at what a port serves."""

import socket
import ssl
from pathlib import Path
from typing import NamedTuple

import trustme


class Files(NamedTuple):
    """PEM files of one certificate."""

    certificate: Path
    key: Path


def write(leaf: trustme.LeafCert, directory: Path) -> Files:
    """Writes a certificate and its key as `tls.crt` and `tls.key`, as Kubernetes does."""
    directory.mkdir(parents=True, exist_ok=True)
    files = Files(directory / "tls.crt", directory / "tls.key")
    files.certificate.write_bytes(chain(leaf))
    files.key.write_bytes(leaf.private_key_pem.bytes())
    return files


def chain(leaf: trustme.LeafCert) -> bytes:
    return b"".join(pem.bytes() for pem in leaf.cert_chain_pems)


def write_ca(ca: trustme.CA, path: Path) -> Path:
    path.write_bytes(ca.cert_pem.bytes())
    return path


def issue(ca: trustme.CA) -> trustme.LeafCert:
    return ca.issue_cert("localhost", "127.0.0.1")


def shake(address: str, ca: trustme.CA) -> bytes:
    """Does a TLS handshake; gives the certificate that was served, as PEM. Fails if its key does not fit."""
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    ca.configure_trust(context)
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=host) as secure,
    ):
        der = secure.getpeercert(binary_form=True)
    assert der is not None
    return ssl.DER_cert_to_PEM_cert(der).encode()
