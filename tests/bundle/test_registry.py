import os
import re
import shutil
import threading
from pathlib import Path

import pytest

from sidecar.bundle.load import load
from sidecar.bundle.manifest import MANIFEST
from sidecar.bundle.registry import POINTER, Registry
from sidecar.bundle.verify import verify
from sidecar.errors import BundleError, ConfigError, InvalidRequest, NotFound


def test_a_missing_directory_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="create it"):
        Registry(tmp_path / "nowhere")


def test_its_names_are_directories_that_could_be_bundles(registry: Path) -> None:
    for name in (".hidden", "with space", "-option"):
        (registry / name).mkdir()
    (registry / "file").touch()
    assert Registry(registry).names() == ["v1", "v2", "v3"]


@pytest.mark.parametrize("name", ["", ".", "..", "../v1", "v1/", "/etc", "v1\n", "v\0", "ü", "v" * 200, ".hidden"])
def test_a_name_never_leaves_the_registry(registry: Path, name: str) -> None:
    with pytest.raises(InvalidRequest, match="no name of a bundle"):
        Registry(registry).path(name)


def test_an_unknown_name_is_answered_with_the_known_ones(registry: Path) -> None:
    with pytest.raises(NotFound, match="v1, v2, v3"):
        Registry(registry).path("v9")


def test_without_a_pointer_nothing_is_active(registry: Path) -> None:
    (registry / POINTER).unlink()
    assert (Registry(registry).active(), Registry(registry).stamp()) == ("", None)


@pytest.mark.parametrize("content", [b"v1", b"v1\n", b" v1 \r\n"])
def test_the_pointer_may_be_written_by_hand(registry: Path, content: bytes) -> None:
    (registry / POINTER).write_bytes(content)
    assert Registry(registry).active() == "v1"


@pytest.mark.parametrize("content", [b"", b"\n", b"\0", b"../v1", b"v1\nv2", b"\xff", b"v" * 1000])
def test_a_pointer_that_holds_no_name_is_refused(registry: Path, content: bytes) -> None:
    (registry / POINTER).write_bytes(content)
    with pytest.raises(BundleError, match="holds no name"):
        Registry(registry).active()


def test_a_pointer_that_is_a_directory_is_refused(registry: Path) -> None:
    (registry / POINTER).unlink()
    (registry / POINTER).mkdir()
    with pytest.raises(BundleError, match="cannot be read"):
        Registry(registry).active()


def test_pointing_is_seen_by_the_stamp_and_leaves_nothing_else_behind(registry: Path) -> None:
    here = Registry(registry)
    before = here.stamp()
    here.point("v2")
    assert here.active() == "v2"
    assert here.stamp() != before
    assert sorted(path.name for path in registry.iterdir()) == [POINTER, "v1", "v2", "v3"]
    assert (registry / POINTER).stat().st_mode & 0o777 == 0o644


def test_whoever_reads_the_pointer_sees_the_old_name_or_the_new_one(registry: Path) -> None:
    here = Registry(registry)
    names = ["a" * 100, "b" * 50]
    here.point(names[0])
    stop = threading.Event()
    seen: set[str] = set()

    def look() -> None:
        while not stop.is_set():
            seen.add(here.active())

    reader = threading.Thread(target=look)
    reader.start()
    for number in range(300):
        here.point(names[number % 2])
    stop.set()
    reader.join(60)
    assert seen <= set(names)
    assert seen


@pytest.mark.parametrize("broken", ["fsync", "fchmod"])
def test_a_pointer_that_cannot_be_written_is_left_as_it_was(
    registry: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    here = Registry(registry)
    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(BundleError, match=re.escape("active: cannot be written: No space left on device")):
        here.point("v2")
    monkeypatch.undo()
    assert here.active() == "v1"
    assert sorted(path.name for path in registry.iterdir()) == [POINTER, "v1", "v2", "v3"]


def test_the_name_is_on_the_disk_before_the_pointer_is_replaced(
    registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def note_replace(self: Path, target: Path) -> Path:
        synced.append(f"replace {self.name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    Registry(registry).point("v2")
    file, replaced, directory = synced
    assert replaced == f"replace {file}"
    assert directory == registry.name


# --- a bundle that is being copied -----------------------------------------------------------------------------------


def stages(size: int) -> list[int]:
    """How many bytes of a file are there: its start, its end, and what lies between."""
    return sorted({*range(min(size, 3)), *range(0, size, max(1, size // 7)), size - 1} - {size})


@pytest.mark.parametrize("first", [MANIFEST, "model.onnx"])
def test_a_bundle_that_is_being_copied_is_refused_at_every_stage_until_it_is_whole(
    tiny_bundle: Path, tmp_path: Path, first: str
) -> None:
    (tmp_path / "registry" / "half").mkdir(parents=True)
    here = Registry(tmp_path / "registry")
    here.point("half")
    names = sorted((path.name for path in tiny_bundle.iterdir()), key=lambda name: (name != first, name))
    refused = 0
    for name in names:
        data = (tiny_bundle / name).read_bytes()
        for amount in stages(len(data)):
            (here.path(here.active()) / name).write_bytes(data[:amount])
            for use in (verify, load):
                with pytest.raises(BundleError):
                    use(here.path(here.active()))
                refused += 1
        (here.path(here.active()) / name).write_bytes(data)
        if name != names[-1]:
            with pytest.raises(BundleError):
                verify(here.path(here.active()))
    assert refused > 50
    assert load(here.path(here.active())).manifest_sha256 == verify(tiny_bundle)[1]


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "reference.npz", "golden.json"])
def test_a_copy_that_reserved_its_space_first_is_refused_too(tiny_bundle: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))
    data = (tiny_bundle / name).read_bytes()
    for amount in stages(len(data)):
        (copy / name).write_bytes(data[:amount] + bytes(len(data) - amount))
        if data[amount:].strip(b"\0"):
            with pytest.raises(BundleError):
                load(copy)


def test_another_bundles_manifest_over_the_files_of_this_one_is_refused(registry: Path, tmp_path: Path) -> None:
    mixed = Path(shutil.copytree(registry / "v1", tmp_path / "mixed"))
    golden = (mixed / "golden.json").read_bytes()
    (mixed / "golden.json").write_bytes(golden.replace(b"zebra", b"zebru"))  # as long, and as sound by itself
    with pytest.raises(BundleError, match=r"golden\.json: its sha256 is"):
        load(mixed)
