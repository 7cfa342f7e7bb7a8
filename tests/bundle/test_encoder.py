import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from sidecar.bundle import encoder as assembling
from sidecar.bundle import load as loading
from sidecar.bundle.load import load
from sidecar.bundle.manifest import GOLDEN_FP16, MODEL, MODEL_FP16
from sidecar.bundle.seal import seal
from sidecar.bundle.verify import verify
from sidecar.errors import BundleError, ConfigError
from sidecar.scoring.pace import Limits
from sidecar.scoring.providers import CPU, CUDA
from sidecar.scoring.session import UNPADDED, Session
from tests.conftest import GOLDEN_TEXTS
from tests.standin import PROVIDER, Devices


def test_every_bucket_is_warm_in_the_running_thread_when_loading_is_over(
    encoder_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = Devices(monkeypatch)
    bundle = load(encoder_bundle, provider="auto", limits=Limits(rows=8))
    device = devices.last
    assert set(device.warmed) == device.bucketed.shapes()
    assert set(device.warmed.values()) == {"runner"}
    assert (bundle.execution_provider, bundle.placement.fault) == (PROVIDER, "")
    assert device.ran  # the golden vectors


def test_a_device_scores_as_the_cpu_does(encoder_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = load(encoder_bundle)
    Devices(monkeypatch)
    device = load(encoder_bundle, provider="auto")
    for got, wanted in zip(device.scorer(GOLDEN_TEXTS)[:3], cpu.scorer(GOLDEN_TEXTS)[:3], strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-5)


@pytest.mark.parametrize(("said", "runs"), [(None, 2), ("0", 2), ("1", 1)])
def test_rows_of_unlike_length_share_a_run_where_the_model_says_that_padding_costs_little(
    encoder_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str | None, runs: int
) -> None:
    directory = shutil.copytree(encoder_bundle, tmp_path / "bundle")
    manifest, _ = verify(directory)
    model = onnx.load(directory / MODEL)
    if said is not None:
        model.metadata_props.add(key=UNPADDED, value=said)
    onnx.save(model, directory / MODEL)
    seal(directory, manifest)
    scorer = load(directory).scorer
    shapes: list[tuple[int, ...]] = []
    run = Session.__call__

    def recording(session: Session, ids: Any, mask: Any) -> Any:
        shapes.append(ids.shape)
        return run(session, ids, mask)

    monkeypatch.setattr(Session, "__call__", recording)
    scorer(["rice", " ".join(["rice"] * 14)])
    assert len(shapes) == runs


def test_where_nothing_is_at_hand_auto_runs_on_the_cpu_and_says_why(
    encoder_bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        bundle = load(encoder_bundle, provider="auto")
    assert (bundle.execution_provider, bundle.placement.reason) == (CPU, "the installed ONNX Runtime has no CUDA")
    assert [record.getMessage() for record in caplog.records] == [f"the model runs on {CPU}: {bundle.placement.reason}"]


def test_a_device_that_cannot_be_opened_leaves_auto_on_the_cpu(
    encoder_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Devices(monkeypatch).broken = True
    bundle = load(encoder_bundle, provider="auto")
    assert bundle.execution_provider == CPU
    assert "cannot be used: it failed with DeviceFault" in bundle.placement.reason
    assert bundle.scorer(["rice"]).quality.shape == (1, 3)


def test_a_device_that_is_demanded_and_cannot_be_opened_is_refused(
    encoder_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Devices(monkeypatch, demanded=True).broken = True
    with pytest.raises(ConfigError, match=r"provider: cuda is demanded, but it failed with DeviceFault.*nvidia-smi"):
        load(encoder_bundle, provider="cuda")


def test_a_device_that_fails_while_it_is_tried_is_refused(
    encoder_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = Devices(monkeypatch, demanded=True)
    opened = devices._open

    def open_failing(*arguments: Any, **more: Any) -> Any:
        device = opened(*arguments, **more)
        devices.last.failing = True
        return device

    monkeypatch.setattr(assembling, "open_device", open_failing)
    with pytest.raises(ConfigError, match="failed with DeviceFault"):
        load(encoder_bundle, provider="cuda")


def test_a_bundle_without_a_model_for_gpus_is_refused_where_one_is_demanded(
    encoder_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = Path(shutil.copytree(encoder_bundle, tmp_path / "bare"))
    manifest, _ = verify(bare)
    (bare / MODEL_FP16).unlink()
    (bare / GOLDEN_FP16).unlink()
    seal(bare, manifest)
    monkeypatch.setattr(assembling, "available", lambda: [CUDA, CPU])
    with pytest.raises(BundleError, match=r"model\.fp16\.onnx: is not part of this bundle"):
        load(bare, provider="cuda")
    bundle = load(bare, provider="auto")
    assert (bundle.execution_provider, "model.fp16.onnx" in bundle.placement.reason) == (CPU, True)


def test_golden_vectors_are_checked_on_the_model_that_runs(
    encoder_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = Path(shutil.copytree(encoder_bundle, tmp_path / "wrong"))
    manifest, _ = verify(wrong)
    text = (wrong / GOLDEN_FP16).read_text()
    first = text.index("quality") + len('quality": [')
    (wrong / GOLDEN_FP16).write_text(text[:first] + text[first:].replace("0.", "0.3", 1))
    seal(wrong, manifest)
    load(wrong)  # the CPU does not run it
    Devices(monkeypatch, demanded=True)
    with pytest.raises(ConfigError, match=r"golden\.fp16\.json: a score differs"):
        load(wrong, provider="cuda")


@pytest.mark.parametrize(("family", "wanted"), [("encoder", 2), ("static", 1)])
def test_threads_are_for_encoders_alone(
    encoder_bundle: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, family: str, wanted: int
) -> None:
    given = []

    def session(*arguments: Any, threads: int, **more: Any) -> Session:
        given.append(threads)
        return Session(*arguments, threads=threads, **more)

    monkeypatch.setattr(loading, "Session", session)
    load(encoder_bundle if family == "encoder" else tiny_bundle, limits=Limits(threads=2))
    assert given == [wanted]
