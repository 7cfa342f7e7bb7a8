import math
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.fleet.peers.message import (
    VERSION,
    Report,
    Row,
    Unreadable,
    decode,
    decode_spent,
    encode,
    encode_spent,
)

counts = st.floats(0.0, 2.0**53)
rows = st.builds(Row, counts, counts, counts, counts, st.floats(0.0, 1e12), st.sampled_from([0.0, 1.0]))
reports = st.builds(
    Report,
    st.just(VERSION),
    st.just("0123456789abcdef"),
    st.text(max_size=20),
    st.floats(0.0, 1e12),
    st.floats(0.0, 1e12),
    st.dictionaries(st.text(min_size=1, max_size=20), rows, max_size=4),
)


@given(reports)
def test_what_is_sent_is_read(report: Report) -> None:
    assert decode(encode(report)) == report


@given(st.one_of(st.binary(), reports.map(encode).map(lambda raw: raw[:-1]), st.just(b"\x91" * 100_000)))
def test_what_is_no_message_is_unreadable_and_nothing_worse(raw: bytes) -> None:
    for read in (decode, decode_spent):
        with suppress(Unreadable):
            read(raw)
    with pytest.raises(Unreadable):
        decode(raw[:-1] if raw else raw)


def test_another_version_is_left_out_whatever_it_looks_like() -> None:
    with pytest.raises(Unreadable, match="of version 2, not 1"):
        decode(msgspec.msgpack.encode({"version": 2, "rows": "quite different"}))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0, 1e300, "1", None])
@pytest.mark.parametrize("place", range(9))
def test_what_is_no_count_or_time_makes_the_whole_unreadable(value: object, place: int) -> None:
    row: list[object] = [0.0] * 9
    row[place] = value
    told = {"version": VERSION, "sidecar": "1", "name": "", "now": 1.0, "server": 1.0, "rows": {"a": row}}
    with pytest.raises(Unreadable, match="no message"):
        decode(msgspec.msgpack.encode(told))


@given(st.dictionaries(st.text(min_size=1, max_size=200), counts, max_size=5))
def test_money_that_is_sent_is_read(spent: dict[str, float]) -> None:
    assert decode_spent(encode_spent(spent)) == spent


@pytest.mark.parametrize("value", [math.nan, -1.0, math.inf, "much"])
def test_what_is_no_money_is_unreadable(value: object) -> None:
    with pytest.raises(Unreadable):
        decode_spent(msgspec.msgpack.encode({"all": value}))
