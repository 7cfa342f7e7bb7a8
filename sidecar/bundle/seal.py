"""Making a directory a bundle: the manifest is written last, and all at once."""

from pathlib import Path

import msgspec

from sidecar.bundle import files
from sidecar.bundle.manifest import MANIFEST, SIGNATURES, FileEntry, Manifest
from sidecar.bundle.verify import OPTIONAL, SEALED, decode


def seal(directory: Path, manifest: Manifest) -> Manifest:
    """Fills the manifest's `files` from the directory and writes manifest.json, atomically and durably.

    Until then the directory is refused by verify, so a watcher never sees half a bundle. Sealing anew after a change is
    allowed; it removes signatures.json, since what was signed is no more.

    Args:
        directory: holds model.onnx, tokenizer.json, reference.npz and golden.json, and maybe the model in other precisions.
        manifest: with `files` of any content.

    Returns:
        The manifest as written.

    Raises:
        BundleError: a file is missing or over its size cap, or the manifest is at odds with itself.
    """
    with files.opened(directory) as descriptor:
        entries = {}
        present = files.names(descriptor)
        for name in (*SEALED, *(name for name in OPTIONAL if name in present)):
            content = files.read(descriptor, name)
            entries[name] = FileEntry(sha256=content.sha256, size=len(content.data))
        sealed = msgspec.structs.replace(manifest, files=entries)
        data = msgspec.json.format(msgspec.json.encode(sealed), indent=2) + b"\n"
        decode(data)  # what cannot be read back must not be written
    files.write(directory, MANIFEST, data)
    # Only now: had the writing failed, the old manifest and its signatures would still hold.
    (directory / SIGNATURES).unlink(missing_ok=True)
    return sealed
