from pathlib import Path

import onnx
import pytest

from benchmarks import gpu, minilm
from sidecar.bundle.manifest import MODEL_FP16

SMALL = minilm.Dimensions(layers=1, width=24, heads=2, inner=48, vocabulary=200, positions=64, candidates=3)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return minilm.write_bundle(tmp_path_factory.mktemp("minilm") / "bundle", SMALL, tokens=32, int8=False)


def test_without_a_gpu_the_same_table_comes_from_the_cpu_and_says_so(
    bundle: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "ENOUGH_S", 0.01)
    gpu.main(["--bundle", str(bundle), "--batches", "1,4", "--tokens", "8,32", "--json", str(tmp_path / "gpu.json")])
    table = capsys.readouterr().out
    assert table.count("no GPU: CPU provider  ") == 4
    assert "provider: cuda is demanded" in table
    assert "the best candidate is the same in 100.0%" in table
    assert (tmp_path / "gpu.json").stat().st_size


def test_the_floor_is_the_larger_of_reading_the_weights_and_of_multiplying_with_them() -> None:
    peak = gpu.Peak(flops=1e12, bytes=1e9)
    assert gpu._floor_s(peak, 1_000_000, 1) == pytest.approx(2e-3)
    assert gpu._floor_s(peak, 1_000_000, 10_000) == pytest.approx(2e-2)
    assert gpu._floor_s(None, 1_000_000, 1) == 0.0


def test_weights_are_those_that_every_token_is_multiplied_with(bundle: Path) -> None:
    heads = 2 * SMALL.width * SMALL.candidates
    assert gpu._weights(bundle / MODEL_FP16) == SMALL.parameters  # neither words nor places
    assert SMALL.parameters == SMALL.layers * (4 * 24 * 24 + 2 * 24 * 48) + heads


def test_half_precision_keeps_the_contracts_float32_outputs(bundle: Path) -> None:
    graph = onnx.load(str(bundle / MODEL_FP16)).graph
    assert {output.type.tensor_type.elem_type for output in graph.output} == {onnx.TensorProto.FLOAT}
    assert onnx.TensorProto.FLOAT16 in {tensor.data_type for tensor in graph.initializer}
