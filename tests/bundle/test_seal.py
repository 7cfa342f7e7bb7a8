import hashlib
import shutil
from pathlib import Path

import msgspec
import pytest

from sidecar.bundle.manifest import GOLDEN, MANIFEST, Manifest
from sidecar.bundle.seal import seal
from sidecar.bundle.verify import SEALED, verify
from sidecar.errors import BundleError


@pytest.fixture
def parts(tiny_bundle: Path, tmp_path: Path) -> tuple[Path, Manifest]:
    """A bundle without its manifest, and the manifest."""
    directory = Path(shutil.copytree(tiny_bundle, tmp_path / "parts"))
    manifest, _ = verify(directory)
    (directory / MANIFEST).unlink()
    return directory, manifest


def test_sealing_lists_digest_and_size_of_every_file(parts: tuple[Path, Manifest]) -> None:
    directory, manifest = parts
    sealed = seal(directory, msgspec.structs.replace(manifest, files={}))
    assert set(sealed.files) == set(SEALED)
    for name, entry in sealed.files.items():
        data = (directory / name).read_bytes()
        assert (entry.sha256, entry.size) == (hashlib.sha256(data).hexdigest(), len(data))
    assert verify(directory)[0] == sealed


def test_nothing_but_the_manifest_is_left_behind(parts: tuple[Path, Manifest]) -> None:
    directory, manifest = parts
    seal(directory, manifest)
    assert {path.name for path in directory.iterdir()} == {MANIFEST, *SEALED}
    assert (directory / MANIFEST).stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("name", SEALED)
def test_a_missing_file_stops_it(parts: tuple[Path, Manifest], name: str) -> None:
    directory, manifest = parts
    (directory / name).unlink()
    with pytest.raises(BundleError, match=f"^{name}: is missing"):
        seal(directory, manifest)
    assert not (directory / MANIFEST).exists()


def test_a_manifest_that_could_not_be_read_back_is_not_written(parts: tuple[Path, Manifest]) -> None:
    directory, manifest = parts
    twice = msgspec.structs.replace(manifest, candidates=manifest.candidates[:1] * 2)
    with pytest.raises(BundleError, match="twice"):
        seal(directory, twice)
    assert {path.name for path in directory.iterdir()} == set(SEALED)


def test_a_failed_write_leaves_the_old_manifest_and_no_debris(
    parts: tuple[Path, Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, manifest = parts
    seal(directory, manifest)
    before = (directory / MANIFEST).read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    (directory / GOLDEN).write_bytes(b"[1]")
    with pytest.raises(OSError, match="No space"):
        seal(directory, manifest)
    assert (directory / MANIFEST).read_bytes() == before
    assert {path.name for path in directory.iterdir()} == {MANIFEST, *SEALED}
