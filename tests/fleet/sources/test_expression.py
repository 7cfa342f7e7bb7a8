import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.fleet.sources.expression import Expression, Gauge, Quotient, Rate, Selector, parse

A, B = Selector("a"), Selector("b")


@pytest.mark.parametrize(
    ("text", "alternatives"),
    [
        ("vllm:num_requests_waiting", [(Gauge(Selector("vllm:num_requests_waiting")),)]),
        (" a | b ", [(Gauge(A),), (Gauge(B),)]),
        ("a+b|b", [(Gauge(A), Gauge(B)), (Gauge(B),)]),
        ("rate(a)", [(Rate(A),)]),
        ("rate( a ) / rate(b)", [(Quotient(A, B),)]),
        ("mean(a)", [(Quotient(Selector("a_sum"), Selector("a_count")),)]),
        ("rate", [(Gauge(Selector("rate")),)]),
        ("named_metrics.vllm:x-y.z", [(Gauge(Selector("named_metrics.vllm:x-y.z")),)]),
        ('a{kind="waiting",x=1}', [(Gauge(Selector("a", (("kind", "waiting"), ("x", "1")))),)]),
        (r'a{k="}|\"+"}', [(Gauge(Selector("a", (("k", '}|"+'),))),)]),
        (
            'mean(a{m="p"})',
            [(Quotient(Selector("a_sum", (("m", "p"),)), Selector("a_count", (("m", "p"),))),)],
        ),
    ],
)
def test_expressions_are_read_as_they_are_meant(text: str, alternatives: list[object]) -> None:
    assert parse(text) == Expression(tuple(alternatives))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "name is missing at the end"),
        ("a |", "name is missing at the end"),
        ("| a", r"name is missing before '\|'"),
        ("a b", "cannot be read from 'b'"),
        ("a ? b", "cannot be read from '"),
        ("rate(a", r"'\)' is missing"),
        ("rate(a) / b", "only be divided by a rate"),
        ("sum(a)", r"sum\(\) is unknown"),
        ("a{b}", "no list of labels"),
        ('a{b="1" c="2"}', "no list of labels"),
        ("a / b", "cannot be read from '/ b'"),
    ],
)
def test_what_is_no_expression_is_refused_with_the_place(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse(text)


def test_counters_are_what_is_under_rate_and_mean() -> None:
    assert parse("a + rate(b) | mean(c)").counters() == [B, Selector("c_sum"), Selector("c_count")]


@given(st.text(alphabet='ab|+/(){}="\\ ,:.rate', max_size=40))
def test_whatever_is_written_is_an_expression_or_an_error_that_says_why(text: str) -> None:
    try:
        assert parse(text).selectors()
    except ValueError as error:
        assert str(error)  # noqa: PT017 - both are right
