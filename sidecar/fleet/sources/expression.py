"""How a metric name in the configuration says where a figure comes from.

A few words of PromQL, enough to write one line for each figure:

    vllm:num_requests_waiting                      a gauge
    trt:requests{kind="waiting"}                   of the rows with this label
    rate(vllm:generation_tokens_total)             growth of a counter per second
    rate(x_seconds_total) / rate(x_total)          one counter's growth by another's
    mean(vllm:time_to_first_token_seconds)         recent mean of a histogram: the growth of _sum by that of _count
    a + b                                          both together
    a | b                                          a, or b where a server knows no a (names change with versions)
"""

import re
from typing import NamedTuple

_TOKEN = re.compile(
    r"\s*(?:(?P<name>[A-Za-z_:][\w:.\-]*)(?P<labels>\{(?:[^\"}]|\"(?:[^\"\\]|\\.)*\")*\})?|(?P<sign>[|+/()]))"
)
_LABEL = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s\",{}]+))\s*(?:,|$)")


class Selector(NamedTuple):
    """Rows of a metric: its name, and labels that they must have."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()


class Gauge(NamedTuple):
    """A value as it is."""

    of: Selector


class Rate(NamedTuple):
    """A counter's growth per second."""

    of: Selector


class Quotient(NamedTuple):
    """One counter's growth divided by another's."""

    over: Selector
    under: Selector


Term = Gauge | Rate | Quotient
Sum = tuple[Term, ...]


class Expression(NamedTuple):
    """Where a figure comes from: the first sum whose metrics are all there."""

    alternatives: tuple[Sum, ...]

    def selectors(self) -> list[Selector]:
        """All rows that it may need."""
        return [selector for one in self.alternatives for term in one for selector in needed(term)]

    def counters(self) -> list[Selector]:
        """Those of them that are counters, whose past matters."""
        return [
            selector
            for one in self.alternatives
            for term in one
            if not isinstance(term, Gauge)
            for selector in needed(term)
        ]


def needed(term: Term) -> tuple[Selector, ...]:
    """The rows that a term needs."""
    return (term.over, term.under) if isinstance(term, Quotient) else (term.of,)


def parse(text: str) -> Expression:
    """Reads an expression.

    Raises:
        ValueError: it is none; the message says where.
    """
    return _Reader(text).expression()


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[re.Match[str]] = []
        place = 0
        while text[place:].strip():
            token = _TOKEN.match(text, place)
            if token is None:
                raise ValueError(f"cannot be read from {text[place:].strip()!r} on")
            self._tokens.append(token)
            place = token.end()
        self._next = 0

    def expression(self) -> Expression:
        alternatives = [self._sum()]
        while self._take("|"):
            alternatives.append(self._sum())
        if self._next < len(self._tokens):
            raise ValueError(f"cannot be read from {self._text[self._tokens[self._next].start() :].strip()!r} on")
        return Expression(tuple(alternatives))

    def _sum(self) -> Sum:
        terms = [self._term()]
        while self._take("+"):
            terms.append(self._term())
        return tuple(terms)

    def _term(self) -> Term:
        selector = self._selector()
        if selector.labels or not self._take("("):
            return Gauge(selector)
        of = self._selector()
        self._demand(")")
        if selector.name == "mean":
            return Quotient(of._replace(name=f"{of.name}_sum"), of._replace(name=f"{of.name}_count"))
        if selector.name != "rate":
            raise ValueError(f"{selector.name}() is unknown; there are rate() and mean()")
        if not self._take("/"):
            return Rate(of)
        if self._selector().name != "rate":
            raise ValueError("a rate() can only be divided by a rate()")
        self._demand("(")
        under = self._selector()
        self._demand(")")
        return Quotient(of, under)

    def _selector(self) -> Selector:
        token = self._tokens[self._next] if self._next < len(self._tokens) else None
        if token is None or token["name"] is None:
            raise ValueError("a metric's name is missing" + (f" before {token['sign']!r}" if token else " at the end"))
        self._next += 1
        return Selector(token["name"], _labels(token["labels"]))

    def _take(self, sign: str) -> bool:
        if self._next < len(self._tokens) and self._tokens[self._next]["sign"] == sign:
            self._next += 1
            return True
        return False

    def _demand(self, sign: str) -> None:
        if not self._take(sign):
            raise ValueError(f"{sign!r} is missing")


def _labels(text: str | None) -> tuple[tuple[str, str], ...]:
    if text is None:
        return ()
    inside, labels, place = text[1:-1].strip(), [], 0
    while place < len(inside):
        label = _LABEL.match(inside, place)
        if label is None:
            raise ValueError(f'{text} is no list of labels; write {{name="value", ...}}')
        name, quoted, bare = label.groups()
        labels.append((name, bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted)))
        place = label.end()
    return tuple(labels)
