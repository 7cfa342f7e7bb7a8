"""Says where data does not fit a type, in the words of whoever wrote the data.

msgspec finds that something does not fit; this finds out what, when it does not. Paths are keys joined by dots, entries of a
list go by their name where they have one, and what is nearly a known word is taken for a slip.
"""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any

from msgspec import inspect

NAME = "name"


def misfits(raw: Any, expected: Any) -> Iterator[str]:
    """What does not fit, each as `PATH: what is wrong and what would be right`, in the order of the type.

    Args:
        raw: as a parser gives it.
        expected: a type that msgspec knows.
    """
    yield from _misfits(raw, inspect.type_info(expected), "")


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint at the known word that was meant, to be put behind a sentence; empty if there is none like it."""
    close = get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _misfits(raw: Any, kind: inspect.Type, path: str) -> Iterator[str]:
    if isinstance(kind, inspect.UnionType):
        kind = next(each for each in kind.types if not isinstance(each, inspect.NoneType))
    if isinstance(kind, inspect.StructType):
        yield from _of_table(raw, kind, path) if isinstance(raw, dict) else [_no_table(raw, kind, path)]
    elif isinstance(kind, inspect.DictType) and isinstance(raw, dict):
        for key, value in raw.items():
            yield from _misfits(value, kind.value_type, _under(path, key))
    elif isinstance(kind, inspect.VarTupleType) and isinstance(raw, list):
        for at, value in enumerate(raw):
            yield from _misfits(value, kind.item_type, _of_list(path, value, at))
    else:
        yield from _of_value(raw, kind, path)


def _of_table(raw: dict[str, Any], kind: inspect.StructType, path: str) -> Iterator[str]:
    fields = {field.encode_name: field for field in kind.fields}
    for key in raw:
        if key not in fields:
            hint = nearest(key, fields) or f"; known are {', '.join(sorted(fields))}"
            yield f"{_under(path, key)}: is unknown{hint}."
    for key, field in fields.items():
        if key in raw:
            yield from _misfits(raw[key], field.type, _under(path, key))
        elif field.required:
            yield f"{_under(path, key)}: is missing; give it."


def _no_table(raw: Any, kind: inspect.StructType, path: str) -> str:
    fields = ", ".join(field.encode_name for field in kind.fields)
    return f"{path}: is {_called(raw)}; give a table with some of {fields}."


def _of_value(raw: Any, kind: inspect.Type, path: str) -> Iterator[str]:
    if isinstance(kind, inspect.LiteralType):
        if raw not in kind.values:
            known = [str(value) for value in kind.values]
            hint = nearest(raw, known) if isinstance(raw, str) else ""
            yield f"{path}: {raw!r} is unknown; known are {', '.join(known)}{hint}."
        return
    wanted = _wanted(kind)
    if isinstance(raw, bool) is not isinstance(kind, inspect.BoolType) or not isinstance(raw, _python(kind)):
        yield f"{path}: is {_called(raw)}; give {wanted}."
    elif isinstance(raw, int | float) and not _within(raw, kind):
        yield f"{path}: is {raw}; give {wanted}."


def _within(number: float, kind: Any) -> bool:
    return (
        (kind.ge is None or number >= kind.ge)
        and (kind.gt is None or number > kind.gt)
        and (kind.le is None or number <= kind.le)
        and (kind.lt is None or number < kind.lt)
    )


def _python(kind: inspect.Type) -> tuple[type, ...]:
    found = {
        inspect.BoolType: (bool,),
        inspect.IntType: (int,),
        inspect.FloatType: (int, float),
        inspect.StrType: (str,),
        inspect.DictType: (dict,),
        inspect.VarTupleType: (list,),
    }.get(type(kind))
    return found or (object,)


def _wanted(kind: inspect.Type) -> str:
    if isinstance(kind, inspect.IntType | inspect.FloatType):
        word = "a whole number" if isinstance(kind, inspect.IntType) else "a number"
        limits = (("at least", kind.ge), ("more than", kind.gt), ("at most", kind.le), ("less than", kind.lt))
        bounds = " and ".join(f"{text} {_number(bound)}" for text, bound in limits if bound is not None)
        return f"{word} of {bounds}" if bounds else word
    words: dict[type, str] = {
        inspect.BoolType: "true or false",
        inspect.StrType: "text in quotes",
        inspect.DictType: "a table",
        inspect.VarTupleType: "a list",
    }
    return words.get(type(kind), "another value")


def _number(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


def _called(raw: Any) -> str:
    for of, word in (
        (bool, "true or false"),
        (str, "text"),
        (int, "a whole number"),
        (float, "a number"),
        (dict, "a table"),
        (list, "a list"),
    ):
        if isinstance(raw, of):
            return word
    return "a date or time"


def _under(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _of_list(path: str, value: Any, at: int) -> str:
    name = value.get(NAME) if isinstance(value, dict) else None
    return f"{path}.{name}" if isinstance(name, str) and name else f"{path}[{at}]"
