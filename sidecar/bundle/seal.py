"""Making a directory a bundle: the manifest is written last, and all at once."""

import os
from pathlib import Path
from tempfile import NamedTemporaryFile

import msgspec

from sidecar.bundle import files
from sidecar.bundle.manifest import MANIFEST, FileEntry, Manifest
from sidecar.bundle.verify import SEALED, decode


def seal(directory: Path, manifest: Manifest) -> Manifest:
    """Fills the manifest's `files` from the directory and writes manifest.json, atomically and durably.

    Until then the directory is refused by verify, so a watcher never sees half a bundle. Sealing anew after a change is
    allowed.

    Args:
        directory: holds model.onnx, tokenizer.json, reference.npz and golden.json.
        manifest: with `files` of any content.

    Returns:
        The manifest as written.

    Raises:
        BundleError: a file is missing or over its size cap, or the manifest is at odds with itself.
    """
    with files.opened(directory) as descriptor:
        entries = {}
        for name in SEALED:
            content = files.read(descriptor, name)
            entries[name] = FileEntry(sha256=content.sha256, size=len(content.data))
        sealed = msgspec.structs.replace(manifest, files=entries)
        data = msgspec.json.format(msgspec.json.encode(sealed), indent=2) + b"\n"
        decode(data)  # what cannot be read back must not be written
        with NamedTemporaryFile(dir=directory, prefix=".manifest-", delete=False) as file:
            try:
                os.fchmod(file.fileno(), 0o644)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(directory / MANIFEST)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
        os.fsync(descriptor)
    return sealed
