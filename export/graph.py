"""The ONNX graph of a static router: look up, sum, divide, one hidden layer, heads.

Every node costs about a microsecond at batch 1, so whatever can be folded is: the weights and scales of the quantised table
into the layer behind it, calibration into the heads, the attention mask into the ids (padding has a row of zeros).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import scipy.sparse as sp
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.features import MIN_WEIGHT, Features
from export.network import Network, sigmoid
from sidecar.types import Floats

OPSET = 17
IR_VERSION = 9
LEVELS = 127


@dataclass(frozen=True)
class Plan:
    """The numbers of the graph; all that serving needs.

    Attributes:
        table: [entries, H + D + 1] int8 rows: hidden layer, embedding, weight.
        weight_scale: what one level of the weight column is.
        bias: [H] in levels.
        head: [H, 2C], the scales of the hidden columns folded in.
        head_bias: [2C].
        longest: [C] what a length of 1 is in tokens.
        hidden: H.
    """

    table: NDArray[np.int8]
    weight_scale: float
    bias: Floats
    head: Floats
    head_bias: Floats
    longest: Floats
    hidden: int

    def run(self, entries: sp.csr_matrix) -> tuple[Floats, Floats, Floats]:
        """What the graph computes, in numpy: quality, embedding and output tokens.

        Args:
            entries: [N, entries] how often each entry of the vocabulary stands in each window.
        """
        sums = np.asarray(entries @ self.table.astype(np.float32))
        scaled = sums[:, :-1] / np.sqrt(np.maximum(sums[:, -1:], self.least_weight))
        hidden = np.maximum(scaled[:, : self.hidden] + self.bias, 0.0)
        chances = sigmoid(hidden @ self.head + self.head_bias)
        count = len(self.longest)
        return chances[:, :count], scaled[:, self.hidden :], chances[:, count:] * self.longest

    @property
    def least_weight(self) -> np.float32:
        """Smallest weight of a window, in levels."""
        return np.float32(MIN_WEIGHT / self.weight_scale)


def plan(parts: sp.csr_matrix, features: Features, network: Network, longest: Floats) -> Plan:
    """Folds a router into one quantised table and two small matrices.

    Args:
        parts: [entries, V] how often each piece stands in each entry.
        features: of the pieces; they become the embedding.
        network: whose logits are calibrated already.
        longest: [C] what a length of 1 is in tokens.
    """
    hidden, hidden_scale = _quantised(parts @ network.table, axis=0)
    # One scale for all features, so that the embedding's geometry stays what it was.
    embedding, _ = _quantised(parts @ features.columns, axis=None)
    weight, weight_scale = _quantised((parts @ features.weights)[:, None], axis=None)
    # (levels * scale) / sqrt(weight levels * weight scale), all factors moved behind the layer.
    factor = (hidden_scale / np.sqrt(weight_scale)).astype(np.float32)
    return Plan(
        np.hstack([hidden, embedding, weight]),
        float(weight_scale),
        (network.bias / factor).astype(np.float32),
        (network.head * factor[:, None]).astype(np.float32),
        network.head_bias.astype(np.float32),
        longest.astype(np.float32),
        len(network.bias),
    )


def build(numbers: Plan) -> bytes:
    """The bytes of model.onnx."""
    width, count = numbers.table.shape[1], len(numbers.longest)
    hidden, embedding = numbers.hidden, width - 1 - numbers.hidden
    constants: dict[str, NDArray[Any]] = {
        "table": numbers.table,
        "over_tokens": np.array([1], np.int64),
        "sections": np.array([hidden, embedding, 1], np.int64),
        "least_weight": np.array([[numbers.least_weight]], np.float32),
        "bias": numbers.bias,
        "head": numbers.head,
        "head_bias": numbers.head_bias,
        "longest": numbers.longest,
        "halves": np.array([count, count], np.int64),
    }
    nodes = [
        helper.make_node("Mul", ["input_ids", "attention_mask"], ["ids"]),
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("Cast", ["rows"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["levels", "over_tokens"], ["sums"], keepdims=0),
        helper.make_node("Split", ["sums", "sections"], ["hidden_sum", "embedding_sum", "weight_sum"], axis=1),
        helper.make_node("Max", ["weight_sum", "least_weight"], ["weight"]),
        helper.make_node("Sqrt", ["weight"], ["root"]),
        helper.make_node("Div", ["embedding_sum", "root"], ["embedding"]),
        helper.make_node("Div", ["hidden_sum", "root"], ["hidden_scaled"]),
        helper.make_node("Add", ["hidden_scaled", "bias"], ["hidden_shifted"]),
        helper.make_node("Relu", ["hidden_shifted"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "head", "head_bias"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["chances"]),
        helper.make_node("Split", ["chances", "halves"], ["quality", "lengths"], axis=1),
        helper.make_node("Mul", ["lengths", "longest"], ["output_tokens"]),
    ]
    graph = helper.make_graph(
        nodes,
        "static_router",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
            for name in ("input_ids", "attention_mask")
        ],
        [
            helper.make_tensor_value_info("quality", TensorProto.FLOAT, ["batch", count]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", embedding]),
            helper.make_tensor_value_info("output_tokens", TensorProto.FLOAT, ["batch", count]),
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def _quantised(values: Floats, axis: int | None) -> tuple[NDArray[np.int8], Floats]:
    scale = np.maximum(np.abs(values).max(axis=axis), 1e-12) / LEVELS
    return np.rint(values / scale).astype(np.int8), np.asarray(scale, np.float32)
