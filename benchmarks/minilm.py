"""A bundle with a transformer of MiniLM's shape and random weights: what an encoder costs, where none is at hand.

Its scores mean nothing. Time and memory depend on the shape alone, and that is MiniLM-L6's: 6 layers of width 384.
"""

import io
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from sidecar.bundle import golden
from sidecar.bundle.load import load
from sidecar.bundle.manifest import (
    GOLDEN_OF,
    MODEL,
    MODEL_FP16,
    MODEL_FP32,
    REFERENCE,
    TOKENIZER,
    Manifest,
    NoveltyRule,
    TokenizerLimits,
    TrainedCandidate,
    TrainingData,
)
from sidecar.bundle.seal import seal
from sidecar.scoring.recipe import TextRecipe

OPSET = 17
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_PIECES = (*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS))


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


MINILM = Dimensions()


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


def write_model(path: Path, dimensions: Dimensions = MINILM, *, half: bool = False, seed: int = 0) -> None:
    """Writes the model, in float32 or in float16 with float32 outputs."""
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    writer = _Writer(kind, seed)
    hidden, mask = _embedded(writer, dimensions, kind)
    for _ in range(dimensions.layers):
        hidden = _layer(writer, hidden, mask, dimensions)
    _heads(writer, hidden, dimensions, kind)
    value = helper.make_tensor_value_info
    columns = dict.fromkeys(("quality", "output_tokens"), dimensions.candidates)
    outputs = ("quality", "embedding", "output_tokens")
    graph = helper.make_graph(
        writer.nodes,
        "minilm-shaped",
        [value(name, TensorProto.INT64, ["batch", "tokens"]) for name in ("input_ids", "attention_mask")],
        [value(name, TensorProto.FLOAT, ["batch", columns.get(name, dimensions.width)]) for name in outputs],
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
    error = node("Erf", node("Div", wide, writer.floats(np.sqrt(2.0))))  # in the order that ONNX Runtime fuses
    active = node("Mul", node("Mul", wide, node("Add", error, writer.floats(1.0))), writer.floats(0.5))
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


def write_bundle(directory: Path, dimensions: Dimensions = MINILM, *, tokens: int = 128, int8: bool = True) -> Path:
    """Writes a whole bundle, with the model in every precision.

    Args:
        directory: created if need be.
        dimensions: of the transformer.
        tokens: longest row.
        int8: quantise model.onnx; needs sympy beside onnx. Without, it is in float32.
    """
    directory.mkdir(parents=True, exist_ok=True)
    write_model(directory / MODEL_FP32, dimensions)
    write_model(directory / MODEL_FP16, dimensions, half=True)
    if int8:
        write_int8(directory / MODEL, directory / MODEL_FP32)
    else:
        (directory / MODEL).write_bytes((directory / MODEL_FP32).read_bytes())
    (directory / TOKENIZER).write_text(tokenizer(dimensions).to_str())
    (directory / REFERENCE).write_bytes(_reference(dimensions))
    manifest = _manifest(dimensions, tokens)
    for vectors in GOLDEN_OF.values():
        (directory / vectors).write_bytes(b"[]")
    seal(directory, manifest)
    scorers = {vectors: load(directory, model=model, golden=False).scorer for model, vectors in GOLDEN_OF.items()}
    for vectors, scorer in scorers.items():
        (directory / vectors).write_bytes(golden.write(golden.record(scorer, texts((3, 20, 90), dimensions))))
    seal(directory, manifest)
    return directory


def texts(words: Sequence[int], dimensions: Dimensions = MINILM, seed: int = 0) -> list[str]:
    """Texts of so many words each, which are as many tokens; the tokenizer adds two."""
    random = np.random.default_rng(seed)
    most = dimensions.vocabulary - len(_PIECES)
    return [" ".join(f"word{number}" for number in random.integers(0, most, amount)) for amount in words]


def tokenizer(dimensions: Dimensions) -> Tokenizer:
    """A WordPiece tokenizer as BERT has, with made-up words."""
    words = (f"word{number}" for number in range(dimensions.vocabulary))
    tokens = [*_PIECES, *islice(words, dimensions.vocabulary - len(_PIECES))]
    ids = {token: number for number, token in enumerate(tokens)}
    made = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))  # noqa: S106 - no password
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(token, ids[token]) for token in ("[CLS]", "[SEP]")]
    )
    return made


def _reference(dimensions: Dimensions) -> bytes:
    """Statistics under which nothing is far away: the figures of a made-up router are to say nothing."""
    buffer = io.BytesIO()
    width = dimensions.width
    null = np.random.default_rng(2).chisquare(width, 1000)
    np.savez(buffer, mean=np.zeros(width), whitening=np.eye(width, dtype=np.float32), null=null)
    return buffer.getvalue()


def _manifest(dimensions: Dimensions, tokens: int) -> Manifest:
    candidates = [
        TrainedCandidate(
            name=f"model-{number}",
            prior_quality=0.5,
            mean_output_tokens=200.0,
            input_usd_per_mtok=float(number),
            output_usd_per_mtok=4.0 * number,
        )
        for number in range(1, dimensions.candidates + 1)
    ]
    return Manifest(
        format_version=1,
        name="minilm-shaped",
        version="1",
        family="encoder",
        created="2026-01-01T00:00:00Z",
        candidates=tuple(candidates),
        tokenizer=TokenizerLimits(max_tokens=tokens),
        text_recipe=TextRecipe(),
        training_data=TrainingData(source="made up", licence="none", rows=0, segments={}, sha256="0" * 64),
        metrics={},
        novelty=NoveltyRule(kind="mahalanobis", shrinkage={"start": 0.98, "strength": 1.0, "power": 1.0}),
        model_card="Random weights in MiniLM's shape, to measure time by.",
        golden_tolerance=0.1,
    )
