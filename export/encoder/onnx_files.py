"""A router as ONNX files: exported with optimum, optimised, and in three precisions."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import onnx
from onnx import TensorProto, helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers import float16
from onnxruntime.transformers.fusion_options import FusionOptions
from onnxruntime.transformers.optimizer import optimize_model
from optimum.exporters.onnx import export
from optimum.exporters.onnx.config import TextEncoderOnnxConfig
from optimum.utils import NormalizedTextConfig

from export.encoder.module import Router
from export.encoder.unpadded import POOLING, unpadded
from sidecar.bundle.inspection import STANDARD_DOMAINS
from sidecar.bundle.manifest import MODEL, MODEL_FP16, MODEL_FP32

OPSET = 17
# The optimiser fuses attention and layer norms of these; the graph of any other encoder stays as it was exported.
_FUSED = frozenset({"bert", "roberta", "xlm-roberta", "electra", "camembert"})


class _Contract(TextEncoderOnnxConfig):
    """The sidecar's ONNX contract, for optimum."""

    NORMALIZED_CONFIG_CLASS: ClassVar[Any] = NormalizedTextConfig

    @property
    def inputs(self) -> dict[str, dict[int, str]]:
        axes = {0: "batch", 1: "tokens"}
        return {"input_ids": axes, "attention_mask": axes}

    @property
    def outputs(self) -> dict[str, dict[int, str]]:
        return {name: {0: "batch"} for name in ("quality", "embedding", "output_tokens")}


def model_files(router: Router) -> dict[str, bytes]:
    """The files of a router by their names in a bundle: int8 for CPUs, half precision for GPUs, full precision."""
    with TemporaryDirectory() as scratch:
        home = Path(scratch)
        config = _Contract(router.config, task="feature-extraction")
        export(router, config, home / "exported.onnx", opset=OPSET)
        full = home / MODEL_FP32
        _optimise(router.config, home / "exported.onnx", full)
        _unpad(full, home / "unpadded.onnx")
        _quantise(home / "unpadded.onnx", home / MODEL)
        _halve(full, home / MODEL_FP16)
        for name in (MODEL, MODEL_FP16, MODEL_FP32):
            _tidy(home / name)
        return {name: (home / name).read_bytes() for name in (MODEL, MODEL_FP16, MODEL_FP32)}


def _optimise(config: Any, source: Path, target: Path) -> None:
    if config.model_type not in _FUSED:
        target.write_bytes(source.read_bytes())
        return
    options = FusionOptions("bert")
    options.enable_embed_layer_norm = False  # fused, it would take int32 ids only
    given = {"num_heads": config.num_attention_heads, "hidden_size": config.hidden_size}
    optimize_model(str(source), "bert", **given, optimization_options=options, opt_level=1).save_model_to_file(
        str(target)
    )


def _unpad(source: Path, target: Path) -> None:
    model = onnx.load(source)
    unpadded(model)
    onnx.save(model, target)


def _quantise(source: Path, target: Path) -> None:
    """Dynamic int8 of the encoder's products and embeddings; pooling and heads stay as they are."""
    head = _head(onnx.load(source))
    # The quantiser makes products of Gemm nodes first, under these names. Heads in int8 would cost 3 points of quality.
    products = [name + "_MatMul" for name in head]
    quantize_dynamic(
        source,
        target,
        op_types_to_quantize=["MatMul", "Attention", "Gather"],
        per_channel=True,
        # Weights of 7 bits: where a processor has no VNNI (AVX2 alone), two products of 8 bits overflow the 16 bits that they
        # are added in, and a bundle would score right where it was made and wrong where it is served.
        reduce_range=True,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=[*head, *products],
        extra_options={"DefaultTensorType": TensorProto.FLOAT},
    )


def _halve(source: Path, target: Path) -> None:
    """Half precision of the encoder; inputs, outputs, pooling and heads stay as they are."""
    model = onnx.load(source)
    head = _head(model)
    # Shape inference does not know the fused operators, and without a type the converter forgets to cast.
    typed = {value.name for value in model.graph.value_info}
    inside = {output for node in model.graph.node if node.name not in head for output in node.output}
    border = {name for node in model.graph.node if node.name in head for name in node.input} & inside - typed
    model.graph.value_info.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in sorted(border)
    )
    onnx.save(float16.convert_float_to_float16(model, keep_io_types=True, node_block_list=head), target)


def _head(model: Any) -> list[str]:
    """Names of the nodes behind the encoder."""
    reached: set[str] = set()
    names = []
    for node in model.graph.node:  # in topological order
        if node.name.startswith(POOLING) or reached.intersection(node.input):
            names.append(node.name)
            reached.update(node.output)
    return names


def _tidy(path: Path) -> None:
    """Drops imports of operator sets that the graph does not use."""
    model = onnx.load(path)
    used = {node.domain for node in model.graph.node} | STANDARD_DOMAINS
    imports = [each for each in model.opset_import if each.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(imports)
    onnx.save(model, path)
