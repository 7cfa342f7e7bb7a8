"""A bundle with a transformer of MiniLM's shape and random weights: what an encoder costs, where none is at hand.

Its scores mean nothing. Time and memory depend on the shape alone, and that is MiniLM-L6's: 6 layers of width 384.
"""

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

OPSET = 17
WORD_IDS = 1000  # ids above these are words of the made-up vocabulary; those below, pieces of one letter
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


class Dimensions(NamedTuple):
    """Of a transformer; the defaults are MiniLM-L6's."""

    layers: int = 6
    width: int = 384
    heads: int = 12
    inner: int = 1536
    vocabulary: int = 30522
    positions: int = 512
    candidates: int = 11

    @property
    def parameters(self) -> int:
        """Weights of one forward pass: the layers and the heads, without the table of which a few rows are read."""
        layer = 4 * self.width**2 + 2 * self.width * self.inner
        return self.layers * layer + 2 * self.width * self.candidates

    def flops(self, batch: int, tokens: int) -> float:
        """Multiplications and additions of one forward pass: two per weight and token, and the attention."""
        attention = 2 * 2 * self.layers * tokens * tokens * self.width
        return 2.0 * self.parameters * batch * tokens + batch * attention


class _Writer:
    """Collects nodes and weights, and names what has no name."""

    def __init__(self, kind: int, seed: int) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self._half = kind == TensorProto.FLOAT16
        self._random = np.random.default_rng(seed)
        self._count = 0

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Adds a node; gives the name of its output."""
        self._count += 1
        output = output or f"{kind.lower()}_{self._count}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, values: NDArray[Any]) -> str:
        """Adds a tensor as it is."""
        self._count += 1
        self.weights.append(numpy_helper.from_array(values, f"constant_{self._count}"))
        return f"constant_{self._count}"

    def floats(self, values: Any) -> str:
        """Adds a tensor in the model's own precision."""
        return self.constant(np.asarray(values, np.float16 if self._half else np.float32))

    def random(self, *shape: int) -> str:
        """Adds random weights of a size that keeps activations near one."""
        return self.floats(self._random.normal(0.0, 1.0 / np.sqrt(shape[0]), shape))


def write_model(path: Path, dimensions: Dimensions = Dimensions(), *, half: bool = False, seed: int = 0) -> None:
    """Writes the model, in float32 or in float16 with float32 outputs."""
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    writer = _Writer(kind, seed)
    hidden, mask = _embedded(writer, dimensions, kind)
    for _ in range(dimensions.layers):
        hidden = _layer(writer, hidden, mask, dimensions)
    _heads(writer, hidden, dimensions, kind)
    value = helper.make_tensor_value_info
    outputs = (("quality", dimensions.candidates), ("embedding", dimensions.width)) + (
        ("output_tokens", dimensions.candidates),
    )
    graph = helper.make_graph(
        writer.nodes,
        "minilm-shaped",
        [value(name, TensorProto.INT64, ["batch", "tokens"]) for name in ("input_ids", "attention_mask")],
        [value(name, TensorProto.FLOAT, ["batch", columns]) for name, columns in outputs],
        writer.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def write_int8(path: Path, source: Path) -> None:
    """Writes a dynamically quantised copy, per channel, as the export does for CPUs."""
    from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: PLC0415 - slow to import

    quantize_dynamic(source, path, per_channel=True, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul"])


def _embedded(writer: _Writer, dimensions: Dimensions, kind: int) -> tuple[str, str]:
    """Embeddings of tokens and places, and what is added to attention: zero for a token, much less for padding."""
    node = writer.node
    words = node("Gather", writer.random(dimensions.vocabulary, dimensions.width), "input_ids")
    length = node("Shape", "input_ids", start=1, end=2)
    zero, one = writer.constant(np.array([0])), writer.constant(np.array([1]))
    places = node("Slice", writer.random(dimensions.positions, dimensions.width), zero, length, zero, one)
    hidden = _normal(writer, node("Add", words, places), dimensions)
    flags = node("Cast", "attention_mask", to=kind)
    missing = node("Sub", writer.floats(1.0), flags)
    mask = node("Mul", missing, writer.floats(-10000.0))
    return hidden, node("Unsqueeze", mask, writer.constant(np.array([1, 2])))


def _normal(writer: _Writer, hidden: str, dimensions: Dimensions) -> str:
    ones, zeros = writer.floats(np.ones(dimensions.width)), writer.floats(np.zeros(dimensions.width))
    return writer.node("LayerNormalization", hidden, ones, zeros, axis=-1, epsilon=1e-5)


def _linear(writer: _Writer, hidden: str, inputs: int, outputs: int) -> str:
    product = writer.node("MatMul", hidden, writer.random(inputs, outputs))
    return writer.node("Add", product, writer.floats(np.zeros(outputs)))


def _layer(writer: _Writer, hidden: str, mask: str, dimensions: Dimensions) -> str:
    node, width, heads = writer.node, dimensions.width, dimensions.heads
    apart = writer.constant(np.array([0, 0, heads, width // heads]))
    query, key, value = (
        node("Transpose", node("Reshape", _linear(writer, hidden, width, width), apart), perm=perm)
        for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
    )
    scores = node("Mul", node("MatMul", query, key), writer.floats(1.0 / np.sqrt(width / heads)))
    weights = node("Softmax", node("Add", scores, mask), axis=-1)
    mixed = node("Transpose", node("MatMul", weights, value), perm=[0, 2, 1, 3])
    together = node("Reshape", mixed, writer.constant(np.array([0, 0, width])))
    hidden = _normal(writer, node("Add", hidden, _linear(writer, together, width, width)), dimensions)
    wide = _linear(writer, hidden, width, dimensions.inner)
    error = node("Erf", node("Mul", wide, writer.floats(np.sqrt(0.5))))
    half = node("Mul", wide, writer.floats(0.5))
    active = node("Mul", half, node("Add", error, writer.floats(1.0)))
    return _normal(writer, node("Add", hidden, _linear(writer, active, dimensions.inner, width)), dimensions)


def _heads(writer: _Writer, hidden: str, dimensions: Dimensions, kind: int) -> None:
    """Mean over the tokens, and from it the outputs of the contract, in float32."""
    node = writer.node
    flags = node("Cast", "attention_mask", to=kind)
    middle, last = writer.constant(np.array([1])), writer.constant(np.array([2]))
    total = node("ReduceSum", node("Mul", hidden, node("Unsqueeze", flags, last)), middle, keepdims=0)
    count = node("Max", node("ReduceSum", flags, middle, keepdims=1), writer.floats(1.0))
    pooled = node("Cast", node("Div", total, count), output="embedding", to=TensorProto.FLOAT)
    random = np.random.default_rng(1)
    for name, last_node in (("quality", "Sigmoid"), ("output_tokens", "Softplus")):
        weights = random.normal(0.0, 0.05, (dimensions.width, dimensions.candidates)).astype(np.float32)
        node(last_node, node("MatMul", pooled, writer.constant(weights)), output=name)


def vocabulary(dimensions: Dimensions) -> list[str]:
    """Tokens: special ones, letters, their continuations, and made-up words."""
    pieces = [*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    words = (f"word{number}" for number in range(dimensions.vocabulary))
    return [*pieces, *_first(words, dimensions.vocabulary - len(pieces))]


def _first(words: Iterator[str], amount: int) -> Iterator[str]:
    return (word for _, word in zip(range(amount), words, strict=False))


def tokenizer(dimensions: Dimensions) -> Tokenizer:
    """A WordPiece tokenizer as BERT has, with made-up words."""
    ids = {token: number for number, token in enumerate(vocabulary(dimensions))}
    made = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))  # noqa: S106 - no password
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(token, ids[token]) for token in ("[CLS]", "[SEP]")]
    )
    return made
