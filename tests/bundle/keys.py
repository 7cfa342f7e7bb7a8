"""Keys and signatures for the tests; made here by hand, so that they do not rest on the code under test."""

import base64
import hashlib
import json
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class Key(NamedTuple):
    private: Ed25519PrivateKey

    @property
    def id(self) -> str:
        return hashlib.sha256(self.private.public_key().public_bytes_raw()).hexdigest()[:16]

    def entry(self, manifest: bytes) -> dict[str, str]:
        signed = self.private.sign(b"router-sidecar bundle manifest v1\0" + manifest)
        return {"key_id": self.id, "signature": base64.b64encode(signed).decode()}

    def write_public(self, path: Path) -> Path:
        path.write_bytes(
            self.private.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        return path

    def write_private(self, path: Path, password: bytes = b"") -> Path:
        how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        path.write_bytes(self.private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how))
        return path


def key_of(seed: int) -> Key:
    return Key(Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


def sign(bundle: Path, *keys: Key) -> Path:
    manifest = (bundle / "manifest.json").read_bytes()
    (bundle / "signatures.json").write_text(json.dumps([key.entry(manifest) for key in keys]))
    return bundle
