"""The default bundle with a model as heavy as an encoder's: same scores, more arithmetic.

Refusing a request costs the transport about what answering one costs with a static model, so what protection against
overload is worth shows only where scoring is the larger part.
"""

import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from sidecar.bundle.embedded import DEFAULT_BUNDLE
from sidecar.bundle.manifest import MODEL
from sidecar.bundle.seal import seal
from sidecar.bundle.verify import verify

WIDTH = 1024  # a product of a row with WIDTH x WIDTH weights is 2 M operations


def weigh(target: Path, products: int) -> Path:
    """Writes the bundle.

    Args:
        target: made; must not exist.
        products: of WIDTH x WIDTH weights for every row, about 0.1 ms each on one core.
    """
    shutil.copytree(DEFAULT_BUNDLE, target)
    model = onnx.load(target / MODEL)
    graph = model.graph
    (quality,) = (output for output in graph.output if output.name == "quality")
    (embedding,) = (output for output in graph.output if output.name == "embedding")
    candidates = quality.type.tensor_type.shape.dim[1].dim_value
    dimensions = embedding.type.tensor_type.shape.dim[1].dim_value
    for node in graph.node:
        node.output[:] = ["light_quality" if name == "quality" else name for name in node.output]
    zeros = {"in": (dimensions, WIDTH), "square": (WIDTH, WIDTH), "out": (WIDTH, candidates)}
    graph.initializer.extend(
        numpy_helper.from_array(np.zeros(shape, np.float32), f"heavy_{name}") for name, shape in zeros.items()
    )
    names = ["embedding", *(f"heavy_{number}" for number in range(products + 1)), "nothing"]
    weights = ["heavy_in", *["heavy_square"] * products, "heavy_out"]
    graph.node.extend(
        helper.make_node("MatMul", [before, weight], [after])
        for before, weight, after in zip(names[:-1], weights, names[1:], strict=True)
    )
    graph.node.append(helper.make_node("Add", ["light_quality", "nothing"], ["quality"]))
    onnx.save(model, target / MODEL)
    manifest, _ = verify(DEFAULT_BUNDLE)
    seal(target, manifest)
    return target
