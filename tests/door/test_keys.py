import datetime as dt

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from sidecar.door.keys import is_servable
from tests import pki

SIGNER = ec.generate_private_key(ec.SECP256R1())
ODD_SIGNER = ed25519.Ed25519PrivateKey.generate()
NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x" * 60)])
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)

Key = ec.EllipticCurvePrivateKey | ed448.Ed448PrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
GOOD: dict[str, Key] = {
    "RSA": rsa.generate_private_key(65537, 2048),
    "P-256": ec.generate_private_key(ec.SECP256R1()),
    "P-384": ec.generate_private_key(ec.SECP384R1()),
}
ODD: dict[str, Key] = {
    "P-521": ec.generate_private_key(ec.SECP521R1()),
    "secp256k1": ec.generate_private_key(ec.SECP256K1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
    "Ed448": ed448.Ed448PrivateKey.generate(),
}


def certificate(key: Key, signer: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey = SIGNER) -> bytes:
    builder = x509.CertificateBuilder().subject_name(NAME).issuer_name(NAME).public_key(key.public_key())
    builder = builder.serial_number(2**100).not_valid_before(NOW).not_valid_after(NOW + dt.timedelta(days=1))
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(signer, algorithm).public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize("name", GOOD)
def test_keys_that_grpc_serves(name: str) -> None:
    assert is_servable(certificate(GOOD[name]))


@pytest.mark.parametrize("name", ODD)
def test_keys_that_grpc_does_not_serve(name: str) -> None:
    assert not is_servable(certificate(ODD[name]))


def test_the_key_of_whoever_signed_does_not_matter() -> None:
    assert is_servable(certificate(GOOD["P-256"], ODD_SIGNER))


def test_a_real_certificate_of_each_kind_is_servable() -> None:
    ca = trustme.CA()
    for kind in trustme.KeyType:
        leaf = ca.issue_cert("localhost", key_type=kind)
        der = x509.load_pem_x509_certificate(pki.chain(leaf)).public_bytes(serialization.Encoding.DER)
        assert is_servable(der)
