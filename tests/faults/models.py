"""Models that keep everybody waiting, once a certain word comes."""

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.conftest import VOCABULARY

# The golden vectors hold none of these, nor are they what a bundle's probe asks for.
HANGS, SLOW = "regex", "sql"
FOREVER, A_WHILE = 1 << 62, 1_000_000


def waits_at_words(model: Any) -> None:
    """Puts a loop before the outputs: it turns for ever where a text holds `regex`, and for about a second at `sql`."""
    graph, node = model.graph, helper.make_node
    value = helper.make_tensor_value_info
    at = next(row for row, each in enumerate(graph.node) if "flags" in each.output)
    graph.node[at].output[0] = "before"
    body = helper.make_graph(
        [node("Identity", ["go"], ["go_on"]), node("Identity", ["x"], ["y"])],
        "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("x", TensorProto.FLOAT, None)],
        [value("go_on", TensorProto.BOOL, []), value("y", TensorProto.FLOAT, None)],
    )
    nodes = []
    for word in (HANGS, SLOW):
        nodes += [
            node("Equal", ["input_ids", f"id_{word}"], [f"is_{word}"]),
            node("Cast", [f"is_{word}"], [f"number_{word}"], to=TensorProto.INT64),
            node("ReduceMax", [f"number_{word}"], [f"any_{word}"], keepdims=0),
            node("Mul", [f"any_{word}", f"turns_{word}"], [f"trips_{word}"]),
        ]
    nodes += [
        node("Add", [f"trips_{HANGS}", f"trips_{SLOW}"], ["trips"]),
        node("Loop", ["trips", "yes", "before"], ["flags"], body=body),
    ]
    for offset, each in enumerate(nodes):
        graph.node.insert(at + 1 + offset, each)
    weights = {
        f"id_{HANGS}": np.array(VOCABULARY.index(HANGS)),
        f"id_{SLOW}": np.array(VOCABULARY.index(SLOW)),
        f"turns_{HANGS}": np.array(FOREVER),
        f"turns_{SLOW}": np.array(A_WHILE),
        "yes": np.array(True),  # noqa: FBT003
    }
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
