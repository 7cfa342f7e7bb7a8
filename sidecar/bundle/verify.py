"""Every check of a bundle that needs no model to run: what is in the directory, and whether it is what was sealed."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from sidecar.bundle import files, graph, signature
from sidecar.bundle.inspection import Shape
from sidecar.bundle.manifest import (
    FORMAT_VERSION,
    GOLDEN,
    GOLDEN_OF,
    MANIFEST,
    MODEL,
    REFERENCE,
    SIGNATURES,
    TOKENIZER,
    FileEntry,
    Manifest,
)
from sidecar.bundle.signature import ANYONE, Signature, Trust
from sidecar.errors import BundleError
from sidecar.scoring.recipe import TextRecipe

SEALED = (MODEL, TOKENIZER, REFERENCE, GOLDEN)
# A bundle may have these besides, a model only together with its golden vectors.
OPTIONAL = tuple(name for pair in GOLDEN_OF.items() for name in pair if name not in SEALED)
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
        shapes: what each model declares, by the name of its file.
        tokenizer: bytes of tokenizer.json.
        reference: bytes of reference.npz.
        goldens: bytes of the golden vectors, by the name of the model.
        model_stamps: identity of each model when it was hashed (see files.pinned), by its name; they are loaded by path.
        sealed: bytes of manifest.json; what signatures cover.
        signatures: of signatures.json, whether they hold or not; empty without that file.
        vouched: ids of the trusted keys whose signatures hold.
    """

    directory: Path
    manifest: Manifest
    manifest_sha256: str
    shapes: Mapping[str, Shape]
    tokenizer: bytes
    reference: bytes
    goldens: Mapping[str, bytes]
    model_stamps: Mapping[str, tuple[int, ...]]
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
        content: dict[str, bytes] = {}
        shapes: dict[str, Shape] = {}
        stamps: dict[str, tuple[int, ...]] = {}
        for name in manifest.files:
            found = _matching(files.read(descriptor, name), name, manifest.files[name])
            if name in GOLDEN_OF:  # only one model at a time in memory
                shapes[name] = graph.check(found.data, manifest.family, len(manifest.candidates), name)
                stamps[name] = found.stamp
            else:
                content[name] = found.data
    return Verified(
        directory=resolved,
        manifest=manifest,
        manifest_sha256=raw.sha256,
        shapes=shapes,
        tokenizer=content[TOKENIZER],
        reference=content[REFERENCE],
        goldens={model: content[GOLDEN_OF[model]] for model in shapes},
        model_stamps=stamps,
        sealed=raw.data,
        signatures=signatures,
        vouched=vouched,
    )


def _matching(content: files.Content, name: str, entry: FileEntry) -> files.Content:
    if len(content.data) != entry.size:
        raise BundleError(f"{name}: has {len(content.data)} bytes; {MANIFEST} says {entry.size}")
    if content.sha256 != entry.sha256:
        raise BundleError(f"{name}: its sha256 is {content.sha256}; {MANIFEST} says {entry.sha256}")
    return content


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
    _check_listed(manifest.files)
    return manifest


def _check_listed(listed: Collection[str]) -> None:
    """Refuses a list of files that is not a bundle's."""
    for name in listed:
        if "/" in name or "\\" in name or name in ("", ".", ".."):
            raise BundleError(f"{MANIFEST}: files lists {files.shown(name)}, which leaves the directory")
        if name not in (*SEALED, *OPTIONAL):
            raise BundleError(
                f"{MANIFEST}: files lists {files.shown(name)}; a bundle holds only {', '.join((*SEALED, *OPTIONAL))}"
            )
    for name in SEALED:
        if name not in listed:
            raise BundleError(f"{MANIFEST}: files does not list {name}")
    for model, golden in GOLDEN_OF.items():
        if (model in listed) != (golden in listed):
            raise BundleError(f"{MANIFEST}: files lists only one of {model} and {golden}; they belong together")
