import click
import pytest

from sidecar.decisions.since import moment_of

CONTEXT, OPTION = click.Context(click.Command("x")), click.Option(["--since"])


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("90s", 999_910.0),
        ("1.5h", 994_600.0),
        ("2d", 827_200.0),
        ("9w", 0.0),
        ("1970-01-03", 172_800.0),
        ("1970-01-03T01:00", 176_400.0),
        ("1970-01-03T01:00+01:00", 172_800.0),
        ("1960-01-01", 0.0),
    ],
)
def test_a_span_is_before_now_and_a_date_is_itself(said: str, meant: float) -> None:
    moment = moment_of(CONTEXT, OPTION, said)
    assert moment is not None
    assert moment(1_000_000.0) == pytest.approx(meant)


@pytest.mark.parametrize("said", ["", "1x", "yesterday", "-1h", "2026-13-01", "1e3s"])
def test_what_is_neither_is_refused(said: str) -> None:
    with pytest.raises(click.BadParameter, match="neither a span"):
        moment_of(CONTEXT, OPTION, said)


def test_nothing_said_is_nothing_meant() -> None:
    assert moment_of(CONTEXT, OPTION, None) is None
