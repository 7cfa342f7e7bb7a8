"""signatures.json: who vouches for a bundle, and the public keys that an operator trusts.

A signature covers the exact bytes of manifest.json, and with them every file, since the manifest holds their digests. A
bundle may carry several: to change keys, sign with the old and the new one, trust both, and drop the old one later.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec

from sidecar.bundle.manifest import SIGNATURES, Record
from sidecar.errors import BundleError, ConfigError

# No other protocol signs bytes that begin so: a signature made elsewhere with the same key means nothing here.
PREFIX = b"router-sidecar bundle manifest v1\0"
MAX_SIGNATURES = 16
MAX_KEY_BYTES = 16384
NEEDS_EXTRA = "needs the package cryptography; install it with `pip install 'router-sidecar[signing]'`"


class Signature(Record, frozen=True):
    """One entry of signatures.json.

    Attributes:
        key_id: of the key that signed (see key_id).
        signature: the 64 bytes of an Ed25519 signature, base64.
    """

    key_id: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}\Z")]
    # Of the last letter before the padding only two bits count; these four letters leave the others 0, so that one
    # signature has one spelling.
    signature: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9+/]{85}[AQgw]==\Z")]


_Signatures = Annotated[tuple[Signature, ...], msgspec.Meta(min_length=1, max_length=MAX_SIGNATURES)]


def key_id(public_key: bytes) -> str:
    """The name of a key: the first 16 hexadecimal digits of the sha256 of its 32 raw bytes."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def signed_bytes(manifest: bytes) -> bytes:
    """What is signed for the bytes of a manifest.json."""
    return PREFIX + manifest


def read(data: bytes) -> tuple[Signature, ...]:
    """Reads signatures.json. Says nothing of whether the signatures hold.

    Raises:
        BundleError: malformed (the message has the key's path), empty, too many, or one key twice.
    """
    try:
        signatures = msgspec.json.decode(data, type=_Signatures)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{SIGNATURES}: {error}") from error
    ids = [entry.key_id for entry in signatures]
    if len(set(ids)) != len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise BundleError(f"{SIGNATURES}: key {twice} stands there twice; keep one of its signatures")
    return signatures


def write(signatures: Sequence[Signature]) -> bytes:
    """The bytes of signatures.json."""
    return msgspec.json.format(msgspec.json.encode(signatures), indent=2) + b"\n"


@dataclass(frozen=True, slots=True)
class Trust:
    """The public keys by one of which a bundle must be signed. Without any, signatures are not demanded.

    Attributes:
        keys: raw Ed25519 public keys of 32 bytes, by key id.
    """

    keys: Mapping[str, bytes] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.keys)

    @classmethod
    def read(cls, paths: Iterable[Path]) -> "Trust":
        """Reads public keys: PEM files (SubjectPublicKeyInfo, as `router-export keygen` writes), or directories of *.pem.

        Raises:
            ConfigError: a file cannot be read or holds no Ed25519 public key, a directory holds no *.pem, or the
                package cryptography is not installed.
        """
        keys = [_public_key(file) for path in paths for file in _key_files(path)]
        return cls({key_id(key): key for key in keys})

    def check(self, manifest: bytes, signatures: Sequence[Signature]) -> tuple[str, ...]:
        """Demands that a trusted key signed these bytes of manifest.json.

        Returns:
            The key ids of the trusted keys whose signatures hold; empty where nobody is trusted.

        Raises:
            BundleError: no signature by a trusted key holds.
        """
        if not self.keys:
            return ()
        by_trusted = [entry for entry in signatures if entry.key_id in self.keys]
        held = tuple(entry.key_id for entry in by_trusted if self._holds(entry, manifest))
        if held:
            return held
        trusted = ", ".join(sorted(self.keys))
        if by_trusted:
            broken = ", ".join(entry.key_id for entry in by_trusted)
            raise BundleError(
                f"{SIGNATURES}: the signature of the trusted key {broken} does not hold for this manifest.json; it was "
                "changed, or sealed anew without being signed: sign it again with `router-export sign`"
            )
        signed = f"signed by {', '.join(entry.key_id for entry in signatures)}" if signatures else "not signed"
        raise BundleError(
            f"{SIGNATURES}: the bundle is {signed}; trusted are {trusted}: sign it with a trusted key "
            "(`router-export sign`), or trust the key that signed it"
        )

    def _holds(self, entry: Signature, manifest: bytes) -> bool:
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - only where somebody is trusted
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

        try:
            key = Ed25519PublicKey.from_public_bytes(self.keys[entry.key_id])
            key.verify(base64.b64decode(entry.signature), signed_bytes(manifest))
        except InvalidSignature:
            return False
        return True


ANYONE = Trust()


def _key_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(path.glob("*.pem"))
    if not found:
        raise ConfigError(f"trust: {path} is a directory without *.pem files; put the public keys there.")
    return found


def _public_key(path: Path) -> bytes:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - only where somebody is trusted
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
    except ImportError:
        raise ConfigError(f"trust: {NEEDS_EXTRA}.") from None
    try:
        with path.open("rb") as file:
            data = file.read(MAX_KEY_BYTES)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"trust: {path}: cannot be read: {reason}.") from None
    if b"PRIVATE KEY" in data:
        raise ConfigError(f"trust: {path}: is a private key; give the public one, and keep this one off the server.")
    key: object = None
    with suppress(ValueError, UnsupportedAlgorithm):
        key = serialization.load_pem_public_key(data)
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(
            f"trust: {path}: holds no Ed25519 public key in PEM form; make one with `router-export keygen`."
        )
    return key.public_bytes_raw()
