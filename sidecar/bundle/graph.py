"""The contract of a bundle's model.onnx, checked before anything executes it: what it takes, gives and may consist of."""

from collections.abc import Collection, Mapping

from sidecar.bundle.inspection import STANDARD_DOMAINS, Inspection, Refusal, Shape, Value
from sidecar.bundle.manifest import MODEL
from sidecar.bundle.wire import WireError
from sidecar.errors import BundleError

DOMAINS: Mapping[str, frozenset[str]] = {
    "static": STANDARD_DOMAINS,
    "encoder": STANDARD_DOMAINS | {"ai.onnx.ml", "com.microsoft"},
}

_FLOAT, _INT64 = 1, 7
_TYPE_NAMES = {_FLOAT: "float32", _INT64: "int64"}


def check(model: bytes, family: str, candidates: int, name: str = MODEL) -> Shape:
    """Refuses a model that could do anything but arithmetic on its own numbers, or that breaks the contract.

    Args:
        model: the bytes of the file.
        family: of the router; says which operator domains are allowed.
        candidates: how many the manifest lists.
        name: of the file.

    Raises:
        BundleError: names the file and the reason.
    """
    try:
        return _checked(model, family, candidates)
    except Refusal as refusal:
        raise BundleError(f"{name}: {refusal}") from refusal
    except WireError as error:
        raise BundleError(f"{name}: is not a valid ONNX model: it {error}") from error


def _checked(model: bytes, family: str, candidates: int) -> Shape:
    shape = Inspection(DOMAINS[family]).model(memoryview(model))
    _expect(shape.inputs, "input", {"input_ids": (_INT64, None), "attention_mask": (_INT64, None)})
    _expect(
        shape.outputs,
        "output",
        {"quality": (_FLOAT, candidates), "output_tokens": (_FLOAT, candidates), "embedding": (_FLOAT, None)},
    )
    return shape


def _expect(found: Mapping[str, Value], what: str, wanted: Mapping[str, tuple[int, int | None]]) -> None:
    if set(found) != set(wanted):
        raise Refusal(f"its {what}s are {_listed(found)}; the contract says {_listed(wanted)}")
    for name, (element, columns) in wanted.items():
        value = found[name]
        if value.element != element:
            raise Refusal(f"{what} {name} has ONNX element type {value.element}; it must be {_TYPE_NAMES[element]}")
        if len(value.axes) != 2:  # noqa: PLR2004 (the contract's rank)
            raise Refusal(f"{what} {name} has {len(value.axes)} axes; the contract says 2")
        if value.axes[0] is not None:
            raise Refusal(f"{what} {name} has a fixed batch of {value.axes[0]}; the axis must be free")
        if what == "input" and value.axes[1] is not None:
            raise Refusal(f"input {name} has a fixed length of {value.axes[1]}; the axis must be free")
        if columns is not None and value.axes[1] not in (None, columns):
            raise Refusal(f"output {name} has {value.axes[1]} columns, but the manifest lists {columns} candidates")


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names)[:8]) or "none"
