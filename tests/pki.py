"""Real certificates for tests, and a look at what a port serves."""

import datetime as dt
import socket
import ssl
from pathlib import Path
from typing import NamedTuple

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519


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


def write_ed25519(files: Files) -> None:
    """Replaces a certificate by one of its own making, for a kind of key that OpenSSL takes and gRPC does not."""
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    begin = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(begin).not_valid_after(begin + dt.timedelta(days=36500))
    pem = serialization.Encoding.PEM
    files.certificate.write_bytes(builder.sign(key, None).public_bytes(pem))
    private = serialization.PrivateFormat.PKCS8
    files.key.write_bytes(key.private_bytes(pem, private, serialization.NoEncryption()))
