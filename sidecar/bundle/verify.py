"""Every check of a bundle that needs no model to run: what is in the directory, and whether it is what was sealed."""

from pathlib import Path
from typing import NamedTuple

import msgspec

from sidecar.bundle import files, graph, signature
from sidecar.bundle.manifest import (
    FORMAT_VERSION,
    GOLDEN,
    MANIFEST,
    MODEL,
    REFERENCE,
    SIGNATURES,
    TOKENIZER,
    Manifest,
)
from sidecar.bundle.signature import ANYONE, Signature, Trust
from sidecar.errors import BundleError
from sidecar.scoring.recipe import TextRecipe

SEALED = (MODEL, TOKENIZER, REFERENCE, GOLDEN)
RECIPE_VERSION = TextRecipe().version


class _Version(msgspec.Struct):
    """The one key that every version of the format has."""

    format_version: int


class Verified(NamedTuple):
    """A bundle that passed, with the very bytes that passed: load these, do not read the files again.

    Attributes:
        directory: where it lies, links resolved.
        manifest: its manifest.
        manifest_sha256: of manifest.json; identifies the bundle, since the manifest holds the digests of the rest.
        shape: what model.onnx declares.
        tokenizer: bytes of tokenizer.json.
        reference: bytes of reference.npz.
        golden: bytes of golden.json.
        model_stamp: identity of model.onnx when it was hashed (see files.pinned); it is loaded by path.
        sealed: bytes of manifest.json; what signatures cover.
        signatures: of signatures.json, whether they hold or not; empty without that file.
        vouched: ids of the trusted keys whose signatures hold.
    """

    directory: Path
    manifest: Manifest
    manifest_sha256: str
    shape: graph.Shape
    tokenizer: bytes
    reference: bytes
    golden: bytes
    model_stamp: tuple[int, ...]
    sealed: bytes
    signatures: tuple[Signature, ...]
    vouched: tuple[str, ...]


def verify(directory: Path, *, trust: Trust = ANYONE) -> tuple[Manifest, str]:
    """Verifies a bundle without loading it.

    Args:
        directory: of the bundle.
        trust: by one of whose keys it must be signed.

    Returns:
        The manifest, and the sha256 of manifest.json.

    Raises:
        BundleError: the bundle is refused; the message names the file and the reason.
    """
    verified = examine(directory, trust=trust)
    return verified.manifest, verified.manifest_sha256


def examine(directory: Path, *, trust: Trust = ANYONE) -> Verified:
    """As verify, and hands on what it read.

    Hard links are not refused: package installers and image stores make them, and they cannot smuggle anything in,
    since each file's content must match its digest and the model may name no other file.

    Raises:
        BundleError: the bundle is refused; the message names the file and the reason.
    """
    try:
        resolved = directory.resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise BundleError(f"{directory}: no such bundle directory") from error
    with files.opened(resolved) as descriptor:
        present = files.names(descriptor)
        if MANIFEST not in present:
            raise BundleError(f"{MANIFEST}: is missing; {directory} is not a bundle, or not sealed yet")
        raw = files.read(descriptor, MANIFEST)
        signatures = signature.read(files.read(descriptor, SIGNATURES).data) if SIGNATURES in present else ()
        vouched = trust.check(raw.data, signatures)  # before anything else is read: a stranger's bytes get no further
        manifest = decode(raw.data)
        unlisted = sorted(set(present) - {MANIFEST, SIGNATURES} - set(manifest.files))
        if unlisted:
            raise BundleError(f"{files.shown(unlisted[0])}: is not listed in {MANIFEST}; remove it")
        content = {name: files.read(descriptor, name) for name in SEALED}
    for name, entry in manifest.files.items():
        if len(content[name].data) != entry.size:
            raise BundleError(f"{name}: has {len(content[name].data)} bytes; {MANIFEST} says {entry.size}")
        if content[name].sha256 != entry.sha256:
            raise BundleError(f"{name}: its sha256 is {content[name].sha256}; {MANIFEST} says {entry.sha256}")
    return Verified(
        directory=resolved,
        manifest=manifest,
        manifest_sha256=raw.sha256,
        shape=graph.check(content[MODEL].data, manifest.family, len(manifest.candidates)),
        tokenizer=content[TOKENIZER].data,
        reference=content[REFERENCE].data,
        golden=content[GOLDEN].data,
        model_stamp=content[MODEL].stamp,
        sealed=raw.data,
        signatures=signatures,
        vouched=vouched,
    )


def decode(data: bytes) -> Manifest:
    """Reads manifest.json.

    Raises:
        BundleError: malformed, of a later format, with an unknown key or a wrong value (the message has the key's path),
            or at odds with itself.
    """
    try:
        version = msgspec.json.decode(data, type=_Version).format_version
        if version > FORMAT_VERSION:
            raise BundleError(
                f"{MANIFEST}: format_version is {version}; this build reads up to {FORMAT_VERSION}; upgrade it"
            )
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{MANIFEST}: {error}") from error
    if manifest.text_recipe.version > RECIPE_VERSION:
        raise BundleError(
            f"{MANIFEST}: text_recipe.version is {manifest.text_recipe.version}; this build knows up to "
            f"{RECIPE_VERSION}; upgrade it"
        )
    names = [candidate.name for candidate in manifest.candidates]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BundleError(f"{MANIFEST}: candidates lists {twice!r} twice")
    for name in manifest.files:
        if "/" in name or "\\" in name or name in ("", ".", ".."):
            raise BundleError(f"{MANIFEST}: files lists {files.shown(name)}, which leaves the directory")
        if name not in SEALED:
            raise BundleError(f"{MANIFEST}: files lists {files.shown(name)}; a bundle holds only {', '.join(SEALED)}")
    for name in SEALED:
        if name not in manifest.files:
            raise BundleError(f"{MANIFEST}: files does not list {name}")
    return manifest
