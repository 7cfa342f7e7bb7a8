"""Keys, and signatures of bundles. Private keys are seen here only; serving knows public ones."""

import base64
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.errors import DataError
from sidecar.bundle import files, signature
from sidecar.bundle.manifest import SIGNATURES
from sidecar.bundle.signature import MAX_KEY_BYTES, MAX_SIGNATURES, Signature
from sidecar.bundle.verify import examine

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PRIVATE, PUBLIC = "private.pem", "public.pem"


def generate(directory: Path) -> str:
    """Makes a key pair: private.pem, which only its owner may read, and public.pem.

    Args:
        directory: made if need be.

    Returns:
        The key id.

    Raises:
        DataError: one of the files exists, the directory cannot be written, or the package cryptography is absent.
    """
    ed25519, serialization = _cryptography()
    key = ed25519.Ed25519PrivateKey.generate()
    public = key.public_key()
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    contents = {
        PRIVATE: (key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain), 0o600),
        PUBLIC: (public.public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo), 0o644),
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name in contents:
            if os.path.lexists(directory / name):
                raise DataError(f"--out: {directory / name} exists; name another directory, keys are not overwritten.")
        for name, (data, mode) in contents.items():
            _write_new(directory / name, data, mode)
    except OSError as error:
        raise DataError(f"--out: {directory}: cannot be written: {error.strerror}.") from error
    return signature.key_id(public.public_bytes_raw())


def sign(bundle: Path, key_file: Path) -> tuple[str, tuple[str, ...]]:
    """Adds a signature to a bundle, in place of an earlier one by the same key. Signatures by other keys stay.

    Args:
        bundle: directory of a sealed bundle.
        key_file: private.pem as generate writes it.

    Returns:
        The key id, and the ids of all keys that have signed.

    Raises:
        DataError: the key cannot be used, the bundle has too many signatures or cannot be written, or the package
            cryptography is absent.
        BundleError: the bundle does not verify.
    """
    key = _private_key(key_file)
    name = signature.key_id(key.public_key().public_bytes_raw())
    verified = examine(bundle)
    made = base64.b64encode(key.sign(signature.signed_bytes(verified.sealed))).decode()
    others = [entry for entry in verified.signatures if entry.key_id != name]
    if len(others) >= MAX_SIGNATURES:
        raise DataError(f"{bundle}: has {len(others)} signatures; remove those of keys that are no longer in use.")
    signatures = (*others, Signature(key_id=name, signature=made))
    try:
        files.write(verified.directory, SIGNATURES, signature.write(signatures))
    except OSError as error:
        raise DataError(f"{bundle}: {SIGNATURES} cannot be written: {error.strerror}.") from error
    return name, tuple(entry.key_id for entry in signatures)


def _private_key(path: Path) -> "Ed25519PrivateKey":
    ed25519, serialization = _cryptography()
    try:
        with path.open("rb") as file:
            data = file.read(MAX_KEY_BYTES)
    except OSError as error:
        raise DataError(f"--key: {path}: cannot be read: {error.strerror}.") from error
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except TypeError:
        raise DataError(
            f"--key: {path}: is encrypted; give it decrypted (`openssl pkey -in {path} -out plain.pem`)."
        ) from None
    except Exception:  # noqa: BLE001 - the library's types change between versions; the words could quote the key
        key = None
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise DataError(
            f"--key: {path}: holds no Ed25519 private key in PEM form; make one with `router-export keygen`."
        )
    found: Ed25519PrivateKey = key
    return found


def _write_new(path: Path, data: bytes, mode: int) -> None:
    # Never readable by others, not even before a chmod.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)  # whatever the umask
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _cryptography() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - an extra
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415
    except ImportError:
        raise DataError(f"signing {signature.NEEDS_EXTRA}.") from None
    return ed25519, serialization
