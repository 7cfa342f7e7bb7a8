"""Prices of the candidates, from llms.json."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from export.errors import DataError

_Number = int | float | None


class Price(NamedTuple):
    """USD per million tokens."""

    input_per_mtok: float
    output_per_mtok: float


class _Llm(msgspec.Struct, frozen=True):
    input_per_mtok: _Number = None
    output_per_mtok: _Number = None


class _Suite(msgspec.Struct, frozen=True):
    llms: dict[str, _Llm]
    files: tuple[str, ...] = ()


def read_prices(path: Path, candidates: Sequence[str], data: Path) -> tuple[Price, ...]:
    """Prices of the candidates, in their order.

    The file is `{"llms": {NAME: {"input_per_mtok": .., "output_per_mtok": ..}}}`, or several such objects by name of
    suite. Of several suites that one counts whose `files` has the name of the data file, else the only one that
    prices all candidates.

    Raises:
        DataError: the file cannot be read, or a price is missing, negative or not finite.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from None
    llms = _suite(path, content, candidates, data).llms
    return tuple(_price(path, name, llms.get(name)) for name in candidates)


def _suite(path: Path, content: bytes, candidates: Sequence[str], data: Path) -> _Suite:
    try:
        if "llms" in msgspec.json.decode(content, type=dict[str, msgspec.Raw]):
            return msgspec.json.decode(content, type=_Suite)
        suites = msgspec.json.decode(content, type=dict[str, _Suite])
    except msgspec.DecodeError as error:
        raise DataError(f"{path}: is no list of prices: {error}") from None
    fitting = [suite for suite in suites.values() if data.name in suite.files]
    fitting = fitting or [suite for suite in suites.values() if set(candidates) <= suite.llms.keys()]
    if len(fitting) != 1:
        raise DataError(
            f"{path}: {len(fitting)} of its suites ({', '.join(suites)}) price the candidates of {data.name}; put the "
            'prices into a file of their own: {"llms": {NAME: {"input_per_mtok": .., "output_per_mtok": ..}}}.'
        )
    return fitting[0]


def _price(path: Path, name: str, llm: _Llm | None) -> Price:
    if llm is None or llm.input_per_mtok is None or llm.output_per_mtok is None:
        raise DataError(
            f"{path}: no price for {name!r}; give it input_per_mtok and output_per_mtok, or leave the candidate out "
            "with --candidates."
        )
    price = Price(float(llm.input_per_mtok), float(llm.output_per_mtok))
    if not all(math.isfinite(value) and value >= 0.0 for value in price):
        raise DataError(f"{path}: the price of {name!r} is negative or not finite.")
    return price
