"""A fused encoder's graph, rewritten for ONNX Runtime on a CPU: the same weights, less work.

Three things cost time there that a GPU does not notice:

- *Padding.* Tokens of all rows lie in one array [tokens, width]; rows are laid side by side for the attention alone, the
  one operator in which tokens meet. So rows of unlike length run together, and read the weights once.
- *Denormals.* A masked key gets a score so low that its share of the attention is a denormal number, which the processor
  multiplies a hundred times slower: a batch of which half is padding took 1.5 times as long for that alone.
- *Fused kernels that are slower than their parts.* SkipLayerNormalization takes five times what a sum and
  LayerNormalization take, and a bias costs nothing where the product adds it. It is a Sum, since ONNX Runtime may fuse an
  Add with the LayerNormalization behind it again.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from sidecar.scoring.session import UNPADDED

# Where the encoder ends: each depth's states times the mask.
POOLING = "/pooling/Mul"
# Added to a masked key's score. What is laid beside a row's last token is that token again, so no masked key outweighs
# e**-64 of a real one; and e**-64 is an ordinary float32.
MASKED_SCORE = -64.0
# What works on each token by itself; its other inputs are weights.
_TOKENWISE = frozenset({"MatMul", "Add", "SkipLayerNormalization", "BiasGelu"})
_MICROSOFT = "com.microsoft"

Rewrite = Callable[[NodeProto], Iterable[NodeProto]]


def unpadded(model: ModelProto) -> bool:
    """Rewrites a graph as onnxruntime.transformers fuses it, in place; leaves one alone that looks otherwise.

    Returns:
        Whether it was rewritten.
    """
    nodes = list(model.graph.node)
    attention = [node for node in nodes if node.op_type == "Attention"]
    if not attention or not _as_expected(nodes, attention):
        return False
    maker = {output: node for node in nodes for output in node.output}
    states, seen = attention[0].input[0], maker[attention[0].input[3]].input[0]
    pooled = {node.output[0]: node for node in nodes if _pools(node)}
    weight = next(iter(pooled.values())).input[1]
    rewrites: dict[str, Rewrite] = {
        "Attention": _attention,
        "SkipLayerNormalization": _layer_norm,
        "BiasGelu": _gelu,
        "ReduceSum": lambda node: _pooling(node, pooled),
    }
    rewritten = list(_index(states, seen, weight))
    for node in nodes:
        _rename(node, states, "unpadded/states")
        if node.output[0] not in pooled:
            rewritten += rewrites.get(node.op_type, _same)(node)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in _CONSTANTS.items())
    _replace(model, rewritten)
    model.metadata_props.add(key=UNPADDED, value="1")
    return True


def _as_expected(nodes: Sequence[NodeProto], attention: Sequence[NodeProto]) -> bool:
    """Whether tokens meet in the attention alone, and all of it is masked by the same lengths."""
    masks = {node.input[3] for node in attention if len(node.input) == 4}  # noqa: PLR2004 - states, weight, bias, mask
    lengths = [node for node in nodes if node.op_type == "ReduceSum" and node.output[0] in masks]
    if len(masks) != 1 or len(lengths) != 1 or any(len(node.input) != 4 for node in attention):  # noqa: PLR2004
        return False
    inside, pools = {attention[0].input[0]}, 0
    for node in nodes:  # in topological order
        if not inside.intersection(node.input):
            continue
        if _pools(node):
            pools += 1
        elif node.op_type == "Attention" or (node.op_type in _TOKENWISE and (node.op_type[0] != "S" or _biased(node))):
            inside.update(node.output)
        else:
            return False
    return pools > 0


def _biased(node: NodeProto) -> bool:
    """Whether a SkipLayerNormalization is as the optimiser makes it: input, skip, gamma, beta, bias."""
    return len(node.input) == 5 and len([output for output in node.output if output]) == 1  # noqa: PLR2004


def _pools(node: NodeProto) -> bool:
    return bool(node.op_type == "Mul" and node.name.startswith(POOLING))


_CONSTANTS: dict[str, Any] = {
    "unpadded/0": np.array(0, np.int64),
    "unpadded/1": np.array(1, np.int64),
    "unpadded/[1]": np.array([1], np.int64),
    "unpadded/[-1]": np.array([-1], np.int64),
}


def _index(states: str, seen: str, weight: str) -> Iterator[NodeProto]:
    """Where each token lies, and where each place finds its token.

    Args:
        states: [B, T, width] in front of the first layer.
        seen: [B, T], ones first; at least one of them in each row.
        weight: [B, T, 1], 1 for a token that counts in the mean.
    """
    yield _node("NonZero", [seen], "places of rows")
    yield _node("Transpose", ["unpadded/places of rows"], "places", perm=[1, 0])
    yield _node("GatherND", [states, "unpadded/places"], "states")
    # Padding finds the token before it.
    yield _node("Shape", [seen], "shape")
    yield _node("Reshape", [seen, "unpadded/[-1]"], "flat")
    yield _node("Cast", ["unpadded/flat"], "ones", to=TensorProto.INT64)
    yield _node("CumSum", ["unpadded/ones", "unpadded/0"], "count")
    yield _node("Sub", ["unpadded/count", "unpadded/1"], "before")
    yield _node("Reshape", ["unpadded/before", "unpadded/shape"], "token")
    # A row's sum over its tokens is a product with [B, tokens].
    yield _node("Gather", ["unpadded/places of rows", "unpadded/0"], "row", axis=0)
    yield _node("Gather", ["unpadded/shape", "unpadded/0"], "rows", axis=0)
    yield _node("Range", ["unpadded/0", "unpadded/rows", "unpadded/1"], "each")
    yield _node("Unsqueeze", ["unpadded/each", "unpadded/[1]"], "each row")
    yield _node("Equal", ["unpadded/each row", "unpadded/row"], "same")
    yield _node("Cast", ["unpadded/same"], "mine", to=TensorProto.FLOAT)
    yield _node("GatherND", [weight, "unpadded/places"], "column")
    yield _node("Transpose", ["unpadded/column"], "weight", perm=[1, 0])
    yield _node("Mul", ["unpadded/mine", "unpadded/weight"], "sums")


def _attention(node: NodeProto) -> Iterator[NodeProto]:
    states, result = node.input[0], node.output[0]
    yield helper.make_node("Gather", [states, "unpadded/token"], [f"{states}/rows"], f"{node.name}/rows", axis=0)
    node.input[0], node.output[0] = f"{states}/rows", f"{result}/rows"
    kept = [attribute for attribute in node.attribute if attribute.name != "mask_filter_value"]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("mask_filter_value", MASKED_SCORE)])
    yield node
    yield helper.make_node("GatherND", [f"{result}/rows", "unpadded/places"], [result], f"{node.name}/tokens")


def _layer_norm(node: NodeProto) -> Iterator[NodeProto]:
    given, skip, gamma, beta, bias = node.input
    epsilon = next(attribute.f for attribute in node.attribute if attribute.name == "epsilon")
    yield helper.make_node("Add", [given, bias], [f"{node.name}/biased"], f"{node.name}/bias")
    yield helper.make_node("Sum", [f"{node.name}/biased", skip], [f"{node.name}/sum"], f"{node.name}/skip")
    yield helper.make_node(
        "LayerNormalization", [f"{node.name}/sum", gamma, beta], list(node.output), node.name, axis=-1, epsilon=epsilon
    )


def _gelu(node: NodeProto) -> Iterator[NodeProto]:
    yield helper.make_node("Add", list(node.input), [f"{node.name}/biased"], f"{node.name}/bias")
    yield helper.make_node("Gelu", [f"{node.name}/biased"], list(node.output), node.name, domain=_MICROSOFT)


def _pooling(node: NodeProto, pooled: dict[str, NodeProto]) -> Iterator[NodeProto]:
    """The sum over a row's tokens; keeps the name by which the head is found."""
    product = pooled.get(node.input[0])
    yield (
        node
        if product is None
        else helper.make_node("MatMul", ["unpadded/sums", product.input[0]], list(node.output), product.name)
    )


def _same(node: NodeProto) -> Iterator[NodeProto]:
    yield node


def _node(operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> NodeProto:
    name = f"unpadded/{output}"
    return helper.make_node(operator, list(inputs), [name], name, **attributes)


def _rename(node: NodeProto, old: str, new: str) -> None:
    for at, name in enumerate(node.input):
        if name == old:
            node.input[at] = new


def _replace(model: ModelProto, nodes: Sequence[NodeProto]) -> None:
    """Puts nodes into the graph in topological order, which the index may have upset."""
    maker = {output: node for node in nodes for output in node.output if output}
    ready: dict[int, NodeProto] = {}
    for node in nodes:
        _after_its_makers(node, maker, ready)
    del model.graph.node[:]
    model.graph.node.extend(ready.values())


def _after_its_makers(node: NodeProto, maker: dict[str, NodeProto], ready: dict[int, NodeProto]) -> None:
    if id(node) in ready:
        return
    for name in node.input:
        if name in maker:
            _after_its_makers(maker[name], maker, ready)
    ready[id(node)] = node
