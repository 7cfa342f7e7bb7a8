"""A walk over all that stands in a model, which refuses whatever could do anything but arithmetic on its own numbers.

A field that onnx_fields does not list is refused: whoever loads the model might know it, and act on it.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from sidecar.bundle import onnx_fields as fields
from sidecar.bundle.wire import Walk, WireError

MAX_OPSET = 21
MAX_DEPTH = 16
MAX_FIELDS = 1_000_000
# What all sparse tensors together may unfold to: 256 MiB of float32. The runtime unfolds them when it loads.
MAX_UNFOLDED = 1 << 26
# The narrowest elements have four bits.
_ELEMENTS_PER_BYTE = 2
_OVERFLOW = 1 << 63
_EXTERNAL = 1
STANDARD_DOMAINS = frozenset({"", "ai.onnx"})
# Nodes whose payload is native code or a program of its own, whatever their domain.
FORBIDDEN_OPS = frozenset({"EPContext", "PythonOp", "PyOp"})

_REFUSED = {
    "functions": "defines functions of its own (ModelProto.functions); inline them",
    "training_info": "carries training information (ModelProto.training_info); remove it",
}


class Value(NamedTuple):
    """A declared input or output: element type by ONNX's number, and per axis its size or None where it is free."""

    element: int
    axes: tuple[int | None, ...]


class Shape(NamedTuple):
    """What the graph declares of itself.

    Attributes:
        opset: version of the standard operators.
        inputs: by name.
        outputs: by name.
        nodes: number of them, sub-graphs included.
        operators: the types used, as `domain::type` outside the standard domain.
    """

    opset: int
    inputs: dict[str, Value]
    outputs: dict[str, Value]
    nodes: int
    operators: frozenset[str]


class Refusal(Exception):
    """Why a model is refused."""


class Inspection:
    """One walk over one model. Sub-graphs wait on a stack, so depth costs no recursion.

    Args:
        domains: of operators that it may use.
    """

    def __init__(self, domains: frozenset[str]) -> None:
        self._domains = domains
        self._walk = Walk(MAX_FIELDS)
        self._pending: list[tuple[memoryview, int]] = []
        self._nodes = 0
        self._unfolded = 0
        self._operators: set[str] = set()

    def model(self, message: memoryview) -> Shape:
        """What a ModelProto declares of itself.

        Raises:
            Refusal: it could do something else than arithmetic.
            WireError: it is no ModelProto that every reader reads alike.
        """
        graph: memoryview | None = None
        opset: int | None = None
        for name, value in self._fields(message, fields.MODEL, "model"):
            if name in _REFUSED:
                raise Refusal(_REFUSED[name])
            if name == "graph":
                graph = _view(value)
            elif name == "opset_import":
                domain, version = self._opset(_view(value))
                if domain in STANDARD_DOMAINS:
                    opset = version
        if graph is None:
            raise WireError("has no graph")
        if opset is None:
            raise Refusal("imports no version of the standard operators")
        if not 1 <= opset <= MAX_OPSET:
            raise Refusal(f"needs operator set {opset}; this build takes 1 to {MAX_OPSET}")
        inputs, outputs = self._graph(graph, 0)
        self._sub_graphs()
        return Shape(opset, inputs, outputs, self._nodes, frozenset(self._operators))

    def _sub_graphs(self) -> None:
        while self._pending:
            sub_graph, depth = self._pending.pop()
            if depth > MAX_DEPTH:
                raise Refusal(f"nests graphs more than {MAX_DEPTH} deep")
            self._graph(sub_graph, depth)

    def _graph(self, message: memoryview, depth: int) -> tuple[dict[str, Value], dict[str, Value]]:
        inputs: dict[str, Value] = {}
        outputs: dict[str, Value] = {}
        visits: dict[str, Callable[[memoryview], None]] = {
            "node": lambda node: self._node(node, depth),
            "initializer": self._tensor,
            "sparse_initializer": self._sparse,
            "input": lambda value: self._declare(value, inputs),
            "output": lambda value: self._declare(value, outputs),
        }
        for name, value in self._fields(message, fields.GRAPH, "graph"):
            visit = visits.get(name)
            if visit is not None:
                visit(_view(value))
        return inputs, outputs

    def _node(self, message: memoryview, depth: int) -> None:
        domain = op_type = ""
        for name, value in self._fields(message, fields.NODE, "node"):
            if name == "domain":
                domain = _text(value)
            elif name == "op_type":
                op_type = _text(value)
            elif name == "attribute":
                self._attribute(_view(value), depth)
        if op_type in FORBIDDEN_OPS:
            raise Refusal(f"has a node of type {op_type}, which carries native code")
        if domain not in self._domains:
            allowed = ", ".join(repr(each) for each in sorted(self._domains))
            raise Refusal(f"uses operator {op_type[:64]!r} of the unknown domain {domain[:64]!r}; allowed: {allowed}")
        self._nodes += 1
        self._operators.add(op_type if domain in STANDARD_DOMAINS else f"{domain}::{op_type}")

    def _attribute(self, message: memoryview, depth: int) -> None:
        for name, value in self._fields(message, fields.ATTRIBUTE, "attribute"):
            if name in ("g", "graphs"):
                self._pending.append((_view(value), depth + 1))
            elif name in ("t", "tensors"):
                self._tensor(_view(value))
            elif name in ("sparse_tensor", "sparse_tensors"):
                self._sparse(_view(value))

    def _sparse(self, message: memoryview) -> None:
        elements = 1
        for name, value in self._fields(message, fields.SPARSE_TENSOR, "sparse tensor"):
            if name in ("values", "indices"):
                self._tensor(_view(value))
            else:
                elements = self._extended(elements, value)
        self._unfolded += elements
        if self._unfolded > MAX_UNFOLDED:
            raise Refusal(f"its sparse tensors unfold to more than {MAX_UNFOLDED} elements; store them dense")

    def _tensor(self, message: memoryview) -> None:
        elements = 1
        for name, value in self._fields(message, fields.TENSOR, "tensor"):
            if name == "dims":
                elements = self._extended(elements, value)
            if name == "external_data" or (name == "data_location" and value == _EXTERNAL):
                raise Refusal("keeps weights in another file (external data); store them inside")
        if elements > _ELEMENTS_PER_BYTE * len(message):
            raise Refusal("has a tensor that declares more elements than it holds")

    def _extended(self, elements: int, dims: int | memoryview) -> int:
        """The number of elements after one more dimension, or several packed ones; a negative one counts as huge."""
        for extent in (dims,) if isinstance(dims, int) else self._walk.numbers(dims):
            elements = min(elements * extent, _OVERFLOW)
        return elements

    def _opset(self, message: memoryview) -> tuple[str, int]:
        domain, version = "", 0
        for name, value in self._fields(message, fields.OPSET, "operator set"):
            if name == "domain":
                domain = _text(value)
            elif isinstance(value, int):
                version = value
        return domain, version

    def _declare(self, message: memoryview, into: dict[str, Value]) -> None:
        label, value_type = "", None
        for name, value in self._fields(message, fields.VALUE_INFO, "value"):
            if name == "name":
                label = _text(value)
            elif name == "type":
                value_type = self._type(_view(value), label)
        if label in into:
            raise Refusal(f"declares {label[:64]!r} twice")
        into[label] = value_type or Value(0, ())

    def _type(self, message: memoryview, label: str) -> Value:
        value_type = Value(0, ())
        for name, value in self._fields(message, fields.TYPE, "type"):
            if name == "tensor_type":
                value_type = self._tensor_type(_view(value))
            elif name != "denotation":
                raise Refusal(f"{label[:64]!r} is no tensor")
        return value_type

    def _tensor_type(self, message: memoryview) -> Value:
        element, axes = 0, []
        for name, value in self._fields(message, fields.TENSOR_TYPE, "tensor type"):
            if name == "elem_type" and isinstance(value, int):
                element = value
            elif name == "shape":
                axes = [self._axis(_view(axis)) for _, axis in self._fields(_view(value), fields.SHAPE, "shape")]
        return Value(element, tuple(axes))

    def _axis(self, message: memoryview) -> int | None:
        size: int | None = None
        for name, value in self._fields(message, fields.DIMENSION, "dimension"):
            if name == "dim_value" and isinstance(value, int):
                size = value
        return size

    def _fields(
        self, message: memoryview, known: Mapping[int, str], what: str
    ) -> Iterator[tuple[str, int | memoryview]]:
        seen: set[str] = set()
        for number, value in self._walk.fields(message):
            name = known.get(number)
            if name is None:
                raise WireError(f"has a field unknown to this build (number {number} in a {what})")
            if name in fields.ONCE and name in seen:
                raise WireError(f"has the field {name} of a {what} twice")
            seen.add(name)
            yield name, value


def _view(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise WireError("has a number where a message belongs")
    return value


def _text(value: int | memoryview) -> str:
    try:
        return bytes(_view(value)).decode()
    except UnicodeDecodeError as error:
        raise WireError("has a name that is not UTF-8") from error
