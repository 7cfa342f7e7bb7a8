from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from sidecar.bundle import graph, inspection
from sidecar.bundle.manifest import MODEL
from sidecar.errors import BundleError

# A bundle may have a second model, so whatever is refused has to be called by its own name.
NAME = "other.onnx"
Change = Callable[[Any], None]


def changed(model: Any, change: Change) -> bytes:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    change(copy)
    return copy.SerializeToString()


def check(
    model: Any, change: Change = lambda model: None, family: str = "static", candidates: int = 3
) -> inspection.Shape:
    return graph.check(changed(model, change), family, candidates, NAME)


def nested(node: Any, depth: int = 1) -> Any:
    """An If whose branch holds the node, `depth` levels down."""
    for _ in range(depth):
        branch = helper.make_graph([node], "branch", [], [helper.make_tensor_value_info("x", TensorProto.FLOAT, [])])
        node = helper.make_node("If", ["condition"], ["x"], then_branch=branch, else_branch=branch)
    return node


def add(node: Any) -> Change:
    return lambda model: model.graph.node.append(node)


def external() -> Any:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "outside")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def in_memory() -> Any:
    """ONNX Runtime reads such a location as an address in its own memory."""
    tensor = external()
    tensor.external_data[0].value = "*/_ORT_MEM_ADDR_/*"
    return tensor


def test_a_sound_model_is_described(tiny_model: Any) -> None:
    shape = check(tiny_model)
    assert shape.opset == 17
    assert shape.nodes == len(tiny_model.graph.node)
    assert shape.operators == {node.op_type for node in tiny_model.graph.node}
    assert shape.outputs["quality"].axes == (None, 3)


def test_nodes_of_sub_graphs_are_counted(tiny_model: Any) -> None:
    deep = nested(helper.make_node("Erf", ["a"], ["x"]), depth=3)
    shape = check(tiny_model, add(deep))
    assert shape.nodes == len(tiny_model.graph.node) + 1 + 2 + 4 + 8
    assert "Erf" in shape.operators


@pytest.mark.parametrize("depth", [0, 1, 5])
@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (helper.make_node("Anything", ["a"], ["x"], domain="evil.example"), "unknown domain 'evil.example'"),
        (helper.make_node("Gelu", ["a"], ["x"], domain="com.microsoft"), "unknown domain 'com.microsoft'"),
        (helper.make_node("EPContext", ["a"], ["x"], domain="com.microsoft"), "EPContext, which carries native code"),
        (helper.make_node("EPContext", ["a"], ["x"]), "EPContext, which carries native code"),
        (helper.make_node("Constant", [], ["x"], value=external()), "external data"),
        (helper.make_node("Constant", [], ["x"], value=in_memory()), "external data"),
    ],
)
def test_what_could_act_is_refused_at_any_depth(tiny_model: Any, node: Any, reason: str, depth: int) -> None:
    with pytest.raises(BundleError, match=f"^{NAME}: .*{reason}"):
        check(tiny_model, add(nested(node, depth)))


def test_an_encoder_may_use_the_runtimes_own_operators_but_no_compiled_ones(tiny_model: Any) -> None:
    gelu = helper.make_node("Gelu", ["a"], ["x"], domain="com.microsoft")
    assert "com.microsoft::Gelu" in check(tiny_model, add(gelu), family="encoder").operators
    with pytest.raises(BundleError, match="EPContext"):
        check(tiny_model, add(helper.make_node("EPContext", [], ["x"], domain="com.microsoft")), family="encoder")


def _sparse(model: Any) -> None:
    sparse = model.graph.sparse_initializer.add()
    sparse.values.CopyFrom(external())


def _sparse_attribute(model: Any) -> None:
    attribute = model.graph.node[0].attribute.add(name="sparse_value", type=onnx.AttributeProto.SPARSE_TENSOR)
    attribute.sparse_tensor.indices.CopyFrom(external())


def _tensors_attribute(model: Any) -> None:
    model.graph.node[0].attribute.add(name="many", type=onnx.AttributeProto.TENSORS).tensors.append(external())


def _training(model: Any) -> None:
    model.training_info.add().algorithm.CopyFrom(model.graph)


def _no_location(model: Any) -> None:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda model: model.graph.initializer.append(external()), "external data"),
        (_no_location, "external data"),
        (_sparse, "external data"),
        (_sparse_attribute, "external data"),
        (_tensors_attribute, "external data"),
        (
            lambda model: model.functions.append(
                helper.make_function("custom", "F", ["a"], ["b"], [], [helper.make_opsetid("", 17)])
            ),
            r"ModelProto.functions",
        ),
        (_training, r"ModelProto.training_info"),
        (lambda model: model.opset_import.clear(), "imports no version"),
        (lambda model: setattr(model.opset_import[0], "version", 22), "operator set 22; this build takes 1 to 21"),
        (lambda model: setattr(model.opset_import[0], "version", 0), "operator set 0"),
        (lambda model: model.ClearField("graph"), "has no graph"),
        (lambda model: model.graph.input.pop(), "inputs are input_ids; the contract says"),
        (lambda model: setattr(model.graph.input[0], "name", "ids"), "inputs are attention_mask, ids"),
        (lambda model: model.graph.output.pop(), "outputs are embedding, quality"),
        (lambda model: model.graph.output.append(model.graph.output[0]), "declares 'quality' twice"),
        (
            lambda model: setattr(model.graph.input[0].type.tensor_type, "elem_type", TensorProto.INT32),
            "input input_ids has ONNX element type 6; it must be int64",
        ),
        (
            lambda model: setattr(model.graph.output[0].type.tensor_type, "elem_type", TensorProto.FLOAT16),
            "output quality has ONNX element type 10; it must be float32",
        ),
        (lambda model: model.graph.output[0].type.tensor_type.shape.dim.pop(), "quality has 1 axes"),
        (lambda model: model.graph.output[0].type.tensor_type.ClearField("shape"), "quality has 0 axes"),
        (lambda model: model.graph.output[0].ClearField("type"), "quality has ONNX element type 0"),
        (
            lambda model: setattr(model.graph.input[0].type.tensor_type.shape.dim[0], "dim_value", 1),
            "input input_ids has a fixed batch of 1",
        ),
        (
            lambda model: setattr(model.graph.input[1].type.tensor_type.shape.dim[1], "dim_value", 128),
            "input attention_mask has a fixed length of 128",
        ),
        (
            lambda model: setattr(model.graph.output[2].type.tensor_type.shape.dim[1], "dim_value", 4),
            "output output_tokens has 4 columns, but the manifest lists 3 candidates",
        ),
        (lambda model: model.graph.output[0].type.sequence_type.SetInParent(), "'quality' is no tensor"),
        (lambda model: model.configuration.add(name="x"), "unknown to this build .number 26 in a model"),
    ],
)
def test_a_breach_of_the_contract_is_refused_with_the_reason(tiny_model: Any, change: Change, reason: str) -> None:
    with pytest.raises(BundleError, match=f"^{NAME}: .*{reason}"):
        check(tiny_model, change)


def test_a_free_candidate_axis_is_left_to_the_probe_at_load(tiny_model: Any) -> None:
    def free(model: Any) -> None:
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "candidates"

    assert check(tiny_model, free).outputs["quality"].axes == (None, None)


def test_nesting_is_bounded(tiny_model: Any) -> None:
    def deep(model: Any) -> None:
        node = helper.make_node("Erf", ["a"], ["x"])
        for _ in range(inspection.MAX_DEPTH + 1):
            inner = helper.make_graph([node], "inner", [], [])
            node = helper.make_node("Loop", [], ["x"], body=inner)
        model.graph.node.append(node)

    with pytest.raises(BundleError, match="nests graphs more than 16 deep"):
        check(tiny_model, deep)


def test_a_second_graph_cannot_hide_behind_the_first(tiny_model: Any) -> None:
    evil = onnx.ModelProto()
    evil.graph.node.append(helper.make_node("Anything", [], [], domain="evil.example"))
    for data in (
        tiny_model.SerializeToString() + evil.SerializeToString(),
        evil.SerializeToString() + tiny_model.SerializeToString(),
    ):
        with pytest.raises(BundleError, match="field graph of a model twice"):
            graph.check(data, "static", 3)


def test_a_domain_cannot_be_set_twice(tiny_model: Any) -> None:
    node = helper.make_node("Erf", ["a"], ["x"]).SerializeToString()
    node += b"\x3a\x04evil" + b"\x3a\x00"  # the last one wins in one reader, the first in another
    body = b"\x0a" + bytes([len(node)]) + node
    data = tiny_model.SerializeToString()
    hidden = onnx.ModelProto.FromString(data)
    inner = hidden.graph.SerializeToString() + body
    hidden.ClearField("graph")
    data = hidden.SerializeToString() + b"\x3a" + _varint(len(inner)) + inner
    with pytest.raises(BundleError, match="has the field domain of a node twice"):
        graph.check(data, "static", 3)


def test_a_flood_of_fields_is_refused(monkeypatch: pytest.MonkeyPatch, tiny_model: Any) -> None:
    monkeypatch.setattr(inspection, "MAX_FIELDS", 50)
    with pytest.raises(BundleError, match="too many fields"):
        check(tiny_model)


def test_a_model_cut_anywhere_is_refused(tiny_model: Any) -> None:
    data = tiny_model.SerializeToString()
    opset = len(data) - data.rindex(helper.make_opsetid("", 17).SerializeToString())
    for end in range(0, len(data) - opset, 7):
        with pytest.raises(BundleError, match=f"^{MODEL}: "):
            graph.check(data[:end], "static", 3)


@settings(max_examples=300)
@given(st.binary(max_size=400))
def test_no_bytes_make_the_check_fail_otherwise(data: bytes) -> None:
    with pytest.raises(BundleError, match=f"^{MODEL}: "):
        graph.check(data, "static", 3)


@settings(max_examples=300)
@given(data=st.data())
def test_flipped_bytes_are_read_or_refused(tiny_model: Any, data: st.DataObject) -> None:
    raw = bytearray(tiny_model.SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        graph.check(bytes(raw), "static", 3)
    except BundleError as error:
        assert str(error).startswith(f"{MODEL}: ")  # noqa: PT017 (both ends are right)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def declared(*dims: int, data: bytes = bytes(4)) -> Any:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims, raw_data=data)
    return lambda model: model.graph.initializer.append(tensor)


def unfolding(*dims: int, count: int = 1) -> Change:
    def add_sparse(model: Any) -> None:
        for row in range(count):
            sparse = model.graph.sparse_initializer.add(dims=dims)
            sparse.values.CopyFrom(numpy_helper.from_array(np.ones(1, np.float32), f"w{row}"))
            sparse.indices.CopyFrom(numpy_helper.from_array(np.array([1]), f"i{row}"))

    return add_sparse


@pytest.mark.parametrize("dims", [(1 << 29,), (1 << 40,), (1 << 20, 1 << 20), (-1,), (2, -1), (1 << 62,) * 200])
def test_a_tensor_that_declares_more_than_it_holds_is_refused(tiny_model: Any, dims: tuple[int, ...]) -> None:
    with pytest.raises(BundleError, match=f"^{NAME}: has a tensor that declares more elements than it holds"):
        check(tiny_model, declared(*dims))
    attribute = TensorProto(data_type=TensorProto.FLOAT, dims=dims, raw_data=bytes(4))
    with pytest.raises(BundleError, match="declares more elements"):
        check(tiny_model, add(nested(helper.make_node("Constant", [], ["x"], value=attribute), 2)))


@pytest.mark.parametrize(
    "tensor",
    [
        numpy_helper.from_array(np.zeros((0, 1 << 40), np.float32)),
        numpy_helper.from_array(np.zeros(1000, np.bool_)),
        numpy_helper.from_array(np.array(1.0)),
        helper.make_tensor("w", TensorProto.INT4, [1000], bytes(500), raw=True),
        helper.make_tensor("w", TensorProto.INT64, [1000], [0] * 1000),
        TensorProto(data_type=TensorProto.STRING, dims=[1000], string_data=[b""] * 1000),
    ],
)
def test_tensors_that_hold_what_they_declare_pass(tiny_model: Any, tensor: Any) -> None:
    check(tiny_model, lambda model: model.graph.initializer.append(tensor))


def test_packed_dimensions_count_too(tiny_model: Any) -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, raw_data=bytes(4)).SerializeToString()
    packed = b"\x0a\x06" + b"\x80\x80\x80\x80\x80\x01"  # dims, as proto3 writes them: [1 << 35]
    initializer = b"\x2a" + bytes([len(tensor + packed)]) + tensor + packed
    graph_bytes = tiny_model.graph.SerializeToString() + initializer
    size = len(graph_bytes)
    model = b"\x08\x09\x42\x04\x0a\x00\x10\x11\x3a" + bytes([size & 0x7F | 0x80, size >> 7]) + graph_bytes
    assert size < 1 << 14
    with pytest.raises(BundleError, match="declares more elements"):
        graph.check(model, "static", 3)


@pytest.mark.parametrize(
    "change", [unfolding(1 << 27), unfolding(1 << 40), unfolding(-1), unfolding(1 << 22, count=17)]
)
def test_a_sparse_tensor_that_unfolds_to_the_world_is_refused(tiny_model: Any, change: Change) -> None:
    with pytest.raises(BundleError, match=f"^{NAME}: its sparse tensors unfold to more than"):
        check(tiny_model, change)


def test_a_sparse_tensor_of_ordinary_size_passes(tiny_model: Any) -> None:
    check(tiny_model, unfolding(1 << 22, count=15))
