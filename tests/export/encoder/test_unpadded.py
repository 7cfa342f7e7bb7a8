"""The CPU's graph: what it scores is what the graph before scored, and what made that slow is gone."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper

pytest.importorskip("torch")

from export.encoder.onnx_files import model_files
from export.encoder.train import TrainedEncoder
from export.encoder.unpadded import MASKED_SCORE, unpadded
from sidecar.bundle import graph
from sidecar.bundle.manifest import MODEL, MODEL_FP16, MODEL_FP32
from sidecar.scoring.session import OUTPUTS, Session

pytestmark = [pytest.mark.encoder, pytest.mark.filterwarnings("ignore")]
LENGTHS = (7, 1, 12, 3)


@pytest.fixture(scope="module")
def fused(trained_encoder: TrainedEncoder) -> onnx.ModelProto:
    return onnx.load_from_string(trained_encoder.models[MODEL_FP32])


@pytest.fixture(scope="module")
def rewritten(fused: onnx.ModelProto) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(fused)
    assert unpadded(model)
    return model


def scores(model: onnx.ModelProto, ids: Any, mask: Any) -> dict[str, Any]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(OUTPUTS, session.run(OUTPUTS, {"input_ids": ids, "attention_mask": mask}), strict=True))


def batch(*lengths: int) -> tuple[Any, Any]:
    mask = (np.arange(max(*lengths, 1)) < np.array(lengths)[:, None]).astype(np.int64)
    return np.random.default_rng(0).integers(5, 40, mask.shape), mask


@pytest.mark.parametrize("lengths", [LENGTHS, (5, 5), (1, 1), (9, 0, 4), (0, 2), (48, 1)])
def test_scores_as_before_with_padding_and_with_rows_that_have_no_token(
    fused: onnx.ModelProto, rewritten: onnx.ModelProto, lengths: tuple[int, ...]
) -> None:
    expected, got = scores(fused, *batch(*lengths)), scores(rewritten, *batch(*lengths))
    for name in OUTPUTS:
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_row_scores_in_full_precision_as_it_does_alone_whatever_lies_behind_its_mask(
    rewritten: onnx.ModelProto,
) -> None:
    ids, mask = batch(*LENGTHS)
    together = scores(rewritten, ids, mask)["quality"]
    other = scores(rewritten, np.where(mask == 1, ids, 41 - ids), mask)["quality"]
    np.testing.assert_array_equal(other, together)
    for row, length in enumerate(LENGTHS):
        alone = scores(rewritten, ids[row : row + 1, :length], mask[row : row + 1, :length])["quality"]
        np.testing.assert_allclose(together[row : row + 1], alone, atol=1e-5)


def test_padding_is_gone_from_all_but_the_attention(rewritten: onnx.ModelProto) -> None:
    probe = onnx.ModelProto()
    probe.CopyFrom(rewritten)
    norms = [node.output[0] for node in probe.graph.node if node.op_type == "LayerNormalization"][1:]
    assert len(norms) == 4  # two of each layer; the first belongs to the embeddings
    for name in norms:
        probe.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = ort.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    ids, mask = batch(*LENGTHS)
    states = session.run(norms, {"input_ids": ids, "attention_mask": mask})
    assert {state.shape for state in states} == {(sum(LENGTHS), 32)}


def test_slow_kernels_do_not_come_back_when_onnx_runtime_optimises_the_model(
    trained_encoder: TrainedEncoder, tmp_path: Path
) -> None:
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    ort.InferenceSession(trained_encoder.models[MODEL], options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(tmp_path / "optimised.onnx").graph.node
    kinds = [node.op_type for node in nodes]
    assert {"SkipLayerNormalization", "BiasGelu"}.isdisjoint(kinds)
    assert kinds.count("QAttention") == 2
    products = [node for node in nodes if node.op_type in {"DynamicQuantizeMatMul", "MatMulIntegerToFloat"}]
    assert len(products) == 6
    assert all(node.input[-1].endswith("bias") for node in products)  # added in the product


def test_a_masked_score_leaves_no_denormal_share(trained_encoder: TrainedEncoder) -> None:
    model = onnx.load_from_string(trained_encoder.models[MODEL])
    attention = [node for node in model.graph.node if node.op_type == "QAttention"]
    values = [each.f for node in attention for each in node.attribute if each.name == "mask_filter_value"]
    assert values == [MASKED_SCORE] * 2
    assert np.finfo(np.float32).tiny < np.exp(MASKED_SCORE) < np.finfo(np.float32).eps ** 3


def test_the_model_says_so_and_only_the_one_of_cpus(trained_encoder: TrainedEncoder, tmp_path: Path) -> None:
    for name, said in {MODEL: True, MODEL_FP16: False, MODEL_FP32: False}.items():
        (tmp_path / name).write_bytes(trained_encoder.models[name])
        assert Session(tmp_path / name, candidates=2).unpadded is said


@pytest.mark.parametrize("change", ["another operator", "another mask", "no attention"])
def test_a_graph_in_which_tokens_may_meet_elsewhere_is_left_alone(fused: onnx.ModelProto, change: str) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(fused)
    attention = [node for node in model.graph.node if node.op_type == "Attention"]
    if change == "another operator":
        next(node for node in model.graph.node if node.op_type == "BiasGelu").op_type = "Softmax"
    elif change == "another mask":
        attention[1].input[3] = "attention_mask"
    else:
        for node in attention:
            node.op_type = "PackedAttention"
    before = model.SerializeToString()
    assert not unpadded(model)
    assert model.SerializeToString() == before


def test_an_encoder_that_nobody_knows_how_to_fuse_is_quantised_as_it_is(
    trained_encoder: TrainedEncoder, tmp_path: Path
) -> None:
    config = trained_encoder.router.config
    config.model_type = "unheard-of"
    try:
        content = model_files(trained_encoder.router)[MODEL]
    finally:
        config.model_type = "bert"
    assert "com.microsoft::QAttention" not in graph.check(content, "encoder", 2).operators
    (tmp_path / MODEL).write_bytes(content)
    assert not Session(tmp_path / MODEL, candidates=2).unpadded
