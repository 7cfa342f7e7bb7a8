import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from sidecar.wire import bundle_pb2, router_pb2_grpc
from sidecar.wire import router_pb2 as pb
from tests.faults.conftest import StartSidecar
from tests.faults.sidecars import Load, Sidecar, until


def refused(sidecar: Sidecar, directory: str) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        sidecar.activate(directory)
    return caught.value.code(), caught.value.details() or ""


@pytest.fixture
def small_disk(tmp_path: Path, versions: Path) -> Iterator[Path]:
    """A registry on a file system of its own, of which little is left."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here; this test needs root")
    try:
        for version in ("v1", "v2"):
            shutil.copytree(versions / version, disk / version)
        (disk / "active").write_text("v1\n")
        yield disk
    finally:
        command = ["umount", str(disk)]
        subprocess.run(command, check=True)


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    return filler


def test_a_full_disk_refuses_an_activation_and_leaves_all_as_it_was(serve: StartSidecar, small_disk: Path) -> None:
    sidecar = serve(2, directory=small_disk)
    until(lambda: sidecar.all_connected(2))
    filler = fill(small_disk)
    with Load(sidecar) as load:
        code, details = refused(sidecar, "v2")
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert "active: cannot be written: No space left on device" in details
        load.more()
    assert load.failed == {}
    assert {call.version for call in load.calls} == {"1"}
    assert (small_disk / "active").read_text() == "v1\n"
    assert sorted(path.name for path in small_disk.iterdir()) == ["active", "filler", "v1", "v2"]
    state = sidecar.list().state
    assert (state.running.directory, state.HasField("previous")) == ("v1", False)
    filler.unlink()
    sidecar.activate("v2")
    assert sidecar.version() == "2"
    filler = fill(small_disk)
    with pytest.raises(grpc.RpcError) as caught:
        sidecar.bundles.RollbackBundle(bundle_pb2.RollbackBundleRequest(), timeout=60)
    assert "active: cannot be written" in (caught.value.details() or "")
    assert sidecar.version() == "2"


def test_a_spoilt_pointer_file_is_refused_and_what_runs_runs_on(serve: StartSidecar, registry: Path) -> None:
    sidecar = serve(1)
    for content in (b"", b"\0\0\0\0", b"../v2\n", b"v9\n", b"v2\nv3\n", b"v" * 4096, b"v\xff\n"):
        since = len(sidecar.lines)
        (registry / "next").write_bytes(content)
        (registry / "next").replace(registry / "active")
        sidecar.said("the pointer file is not followed", since)
        assert sidecar.version() == "1"
    # A sound one is followed again.
    (registry / "next").write_text("v2\n")
    (registry / "next").replace(registry / "active")
    sidecar.said("ACTIVATED: v2, tiny 2 (the pointer file)")
    assert sidecar.version() == "2"


def test_with_a_spoilt_pointer_file_at_the_start_the_embedded_bundle_runs(tmp_path: Path, registry: Path) -> None:
    (registry / "active").write_bytes(b"\xff\xfe\n")
    config = tmp_path / "router.toml"
    config.write_text(f'registry = "{registry}"')
    sidecar = Sidecar(config, "--workers", "1")
    try:
        assert sidecar.said("active: holds no name of a bundle")
        assert sidecar.info().bundle.name == "exam-static"
        (registry / "active").write_bytes(b"v1\n")
        sidecar.said("ACTIVATED: v1, tiny 1 (the pointer file)")
        assert sidecar.version() == "1"
    finally:
        sidecar.close()


def test_a_spoilt_bundle_is_refused_at_its_activation(serve: StartSidecar, registry: Path) -> None:
    sidecar = serve(2)
    model = registry / "v2" / "model.onnx"
    sound = model.read_bytes()
    with Load(sidecar) as load:
        for spoilt in (sound[:-1], sound[:-1] + bytes([sound[-1] ^ 1]), b"spoilt"):
            model.write_bytes(spoilt)
            code, details = refused(sidecar, "v2")
            assert code is grpc.StatusCode.FAILED_PRECONDITION
            assert "model.onnx" in details
    assert load.failed == {}
    assert {call.version for call in load.calls} == {"1"}
    assert next(row for row in sidecar.list().bundles if row.directory == "v2").refusal
    model.write_bytes(sound)
    sidecar.activate("v2")
    assert sidecar.version() == "2"


def test_a_worker_that_finds_its_bundle_spoilt_answers_degraded_and_says_so_while_others_score(
    serve: StartSidecar, registry: Path
) -> None:
    sidecar = serve(2, more="[coverage]\nalarm_below = 0.9\nwindow_seconds = 600")
    until(lambda: sidecar.all_connected(2))
    sound = (registry / "v1" / "model.onnx").read_bytes()
    (registry / "v1" / "model.onnx").write_bytes(b"spoilt")
    sidecar.workers()[0].kill()
    assert "model.onnx" in sidecar.said("DEGRADED: bundle ")
    until(lambda: len(sidecar.serving()) == 2)
    degraded = scored = 0
    while degraded < 25 or scored < 25:
        with sidecar.connect() as channel:
            stub: Any = router_pb2_grpc.RouterServiceStub(channel)  # type: ignore[no-untyped-call]
            reply = stub.Route(pb.RouteRequest(text="rice", segment="s"), timeout=60)
            info = stub.Info(pb.InfoRequest(), timeout=60)
        if reply.bundle_version:
            scored += 1
            assert not info.degraded
        else:
            degraded += 1
            assert reply.model == "large"
            assert list(reply.reasons) == [pb.REASON_DEGRADED]
            assert "model.onnx" in info.degraded
    # Every worker knows of all that was not scored.
    until(lambda: (told := sidecar.info().coverage.overall).unscored == degraded and told.scored == scored)
    assert sidecar.said("coverage of segment 's' is ")
    assert next(row for row in sidecar.info().coverage.segments if row.segment == "s").alarm
    # It comes back by itself with the next bundle, or with the same one once that is mended.
    (registry / "v1" / "model.onnx").write_bytes(sound)
    sidecar.activate("v2")
    assert {sidecar.version_anywhere() for _ in range(20)} == {"2"}
