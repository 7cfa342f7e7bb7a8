"""The ONNX files: the sidecar's contract in three precisions, and nothing that it would refuse."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")

from export.encoder.onnx_files import model_files
from export.encoder.train import TrainedEncoder
from sidecar.bundle import graph, inspection
from sidecar.bundle.manifest import MODEL, MODEL_FP16, MODEL_FP32
from sidecar.scoring.session import Session

pytestmark = [pytest.mark.encoder, pytest.mark.filterwarnings("ignore")]
TOLERANCE = {MODEL: 0.1, MODEL_FP16: 5e-3, MODEL_FP32: 1e-5}


@pytest.fixture(params=[MODEL, MODEL_FP16, MODEL_FP32])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_is_what_a_bundle_may_hold(trained_encoder: TrainedEncoder, name: str) -> None:
    shape = graph.check(trained_encoder.models[name], "encoder", 2, name)
    assert shape.opset <= inspection.MAX_OPSET
    model = onnx.load_from_string(trained_encoder.models[name])
    assert {each.domain for each in model.opset_import} <= {"", "ai.onnx", "com.microsoft"}


def test_attention_is_fused(trained_encoder: TrainedEncoder) -> None:
    operators = {name: graph.check(content, "encoder", 2).operators for name, content in trained_encoder.models.items()}
    assert "com.microsoft::Attention" in operators[MODEL_FP32]
    assert "com.microsoft::Attention" in operators[MODEL_FP16]
    assert "com.microsoft::QAttention" in operators[MODEL]


def test_heads_keep_full_precision(trained_encoder: TrainedEncoder) -> None:
    for name in (MODEL, MODEL_FP16):
        model = onnx.load_from_string(trained_encoder.models[name])
        weights = {each.name: each.data_type for each in model.graph.initializer}
        heads = [node for node in model.graph.node if node.name.startswith(("/hidden/", "/out/", "/MatMul"))]
        assert len([node for node in heads if node.op_type in {"Gemm", "MatMul"}]) == 3  # two layers, the embedding
        kinds = {weights[value] for node in heads for value in node.input if value in weights}
        assert kinds == {onnx.TensorProto.FLOAT}


def test_scores_as_torch_does_and_bears_rows_without_tokens(
    trained_encoder: TrainedEncoder, tmp_path: Path, name: str
) -> None:
    (tmp_path / MODEL).write_bytes(trained_encoder.models[name])
    session = Session(tmp_path / MODEL, candidates=2)
    assert session.probe([0, 5, 7]) == trained_encoder.router.direction.shape[1]
    rng = np.random.default_rng(0)
    ids, mask = rng.integers(5, 40, (4, 12)), np.ones((4, 12), np.int64)
    mask[1, 4:] = 0
    with torch.inference_mode():
        expected: dict[str, Any] = trained_encoder.router(torch.from_numpy(ids), torch.from_numpy(mask))
    got = session(ids, mask)
    np.testing.assert_allclose(got[0], expected["quality"].numpy(), atol=TOLERANCE[name])


def test_an_encoder_that_nobody_knows_how_to_fuse_is_exported_as_it_is(trained_encoder: TrainedEncoder) -> None:
    config = trained_encoder.router.config
    config.model_type = "unheard-of"
    try:
        files = model_files(trained_encoder.router)
    finally:
        config.model_type = "bert"
    operators = graph.check(files[MODEL_FP32], "encoder", 2).operators
    assert "com.microsoft::Attention" not in operators
    assert "MatMulInteger" in graph.check(files[MODEL], "encoder", 2).operators
