import ssl
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from sidecar.door.certificates import Certificates
from sidecar.door.settings import TlsConfig
from sidecar.errors import ConfigError
from tests import pki


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(ca: trustme.CA, tmp_path: Path) -> pki.Files:
    return pki.write(pki.issue(ca), tmp_path)


def config(files: pki.Files, client_ca: str = "") -> TlsConfig:
    return TlsConfig(certificate=str(files.certificate), key=str(files.key), client_ca=client_ca)


def test_a_pair_is_taken_as_it_stands_in_the_files(files: pki.Files) -> None:
    certificates = Certificates(config(files))
    assert certificates.pair[:2] == (files.certificate.read_bytes(), files.key.read_bytes())
    assert certificates.news() is None


@pytest.mark.parametrize("name", ["certificate", "key"])
def test_a_missing_file_is_refused_with_its_key(files: pki.Files, name: str) -> None:
    getattr(files, name).unlink()
    with pytest.raises(ConfigError, match=rf"tls\.{name}: .* cannot be read: No such file"):
        Certificates(config(files))


def test_a_key_of_another_certificate_is_refused(files: pki.Files, ca: trustme.CA) -> None:
    files.key.write_bytes(pki.issue(ca).private_key_pem.bytes())
    with pytest.raises(ConfigError, match=r"tls\.certificate, tls\.key: .*KEY_VALUES_MISMATCH"):
        Certificates(config(files))


def test_files_that_are_no_pem_are_refused_without_being_quoted(files: pki.Files) -> None:
    files.key.write_bytes(b"secret words")
    with pytest.raises(ConfigError, match="do not go together") as caught:
        Certificates(config(files))
    assert "secret words" not in str(caught.value)


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(files: pki.Files) -> None:
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    encrypted = serialization.BestAvailableEncryption(b"passphrase")
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encrypted)
    files.key.write_bytes(pem)
    with pytest.raises(ConfigError, match=r"tls\.key: .* has a passphrase"):
        Certificates(config(files))


@pytest.mark.parametrize("content", [b"", b"nobody", "Grüße".encode(), b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_client_authorities_that_are_none_are_refused(files: pki.Files, tmp_path: Path, content: bytes) -> None:
    authority = tmp_path / "clients.pem"
    authority.write_bytes(content)
    with pytest.raises(ConfigError, match=r"tls\.client_ca: .* holds no PEM certificate"):
        Certificates(config(files, str(authority)))
    with pytest.raises(ConfigError, match=r"tls\.client_ca: .* cannot be read"):
        Certificates(config(files, str(tmp_path / "missing.pem")))


def test_what_is_checked_is_what_is_served_though_the_files_change_meanwhile(
    files: pki.Files, ca: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates = Certificates(config(files))
    new = pki.issue(ca)
    files.certificate.write_bytes(pki.chain(new))  # the key is still the old one
    load = ssl.SSLContext.load_cert_chain

    def late(context: ssl.SSLContext, *args: object, **rest: object) -> None:
        files.key.write_bytes(new.private_key_pem.bytes())  # comes while the pair is checked
        load(context, *args, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", late)
    assert certificates.news() is None
    pair = certificates.news()
    assert pair is not None
    assert pair[:2] == (pki.chain(new), new.private_key_pem.bytes())


def test_an_unforeseen_fault_is_logged_by_its_kind_and_raised_to_nobody(
    files: pki.Files, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates = Certificates(config(files))

    def fail() -> None:
        raise MemoryError("secret words")

    monkeypatch.setattr(certificates, "_look", fail)
    assert certificates.news() is None
    assert "MemoryError" in caplog.text
    assert "secret words" not in caplog.text
    monkeypatch.undo()
    assert certificates.news() is None  # the next handshake may look again


def test_the_pair_of_before_is_no_news(files: pki.Files, ca: trustme.CA, caplog: pytest.LogCaptureFixture) -> None:
    certificates = Certificates(config(files))
    before = files.certificate.read_bytes()
    files.certificate.write_bytes(pki.chain(pki.issue(ca)))
    assert certificates.news() is None
    files.certificate.write_bytes(before)
    assert certificates.news() is None
    assert len(caplog.records) == 1
