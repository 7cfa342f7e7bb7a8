from typing import Annotated, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from sidecar.config import Config
from sidecar.misfit import misfits, nearest


class Inner(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    name: str
    share: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.5
    count: Annotated[int, Meta(gt=0, lt=10)] | None = None


class Outer(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    entries: tuple[Inner, ...] = ()
    by_name: dict[str, Inner] = {}
    mode: Literal["fast", "slow"] = "fast"
    on: bool = False
    words: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ({"mod": "fast"}, "mod: is unknown (did you mean 'mode'?)."),
        ({"xyz": 1}, "xyz: is unknown; known are by_name, entries, mode, on, words."),
        ({"mode": "fats"}, "mode: 'fats' is unknown; known are fast, slow (did you mean 'fast'?)."),
        ({"mode": 3}, "mode: 3 is unknown; known are fast, slow."),
        ({"on": 1}, "on: is a whole number; give true or false."),
        ({"on": "yes"}, "on: is text; give true or false."),
        ({"words": "one"}, "words: is text; give a list."),
        ({"words": ["one", 2]}, "words[1]: is a whole number; give text in quotes."),
        ({"entries": {"name": "a"}}, "entries: is a table; give a list."),
        ({"entries": ["a"]}, "entries[0]: is text; give a table with some of name, share, count."),
        ({"entries": [{}]}, "entries[0].name: is missing; give it."),
        (
            {"entries": [{"name": "a"}, {"name": "b", "share": 1.5}]},
            "entries.b.share: is 1.5; give a number of at least 0 and at most 1.",
        ),
        ({"entries": [{"name": "a", "share": True}]}, "entries.a.share: is true or false; give a number of"),
        ({"entries": [{"name": "a", "share": "0.5"}]}, "entries.a.share: is text; give a number of"),
        (
            {"entries": [{"name": "a", "count": 10}]},
            "entries.a.count: is 10; give a whole number of more than 0 and less than 10.",
        ),
        ({"by_name": {"acme": {"name": "a", "shar": 1}}}, "by_name.acme.shar: is unknown (did you mean 'share'?)."),
        ({"by_name": 5}, "by_name: is a whole number; give a table."),
    ],
)
def test_what_does_not_fit_is_told_with_its_place_and_what_would(raw: object, told: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(raw, Outer)
    (found,) = misfits(raw, Outer)
    assert found.startswith(told)


def test_all_that_does_not_fit_is_told() -> None:
    raw = {"on": 1, "entries": [{"name": 1}], "wrods": []}
    assert [told.split(":")[0] for told in misfits(raw, Outer)] == ["wrods", "entries[0].name", "on"]


values = st.recursive(
    st.booleans() | st.integers(-5, 2000) | st.floats() | st.sampled_from(["fast", "auto", "x", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*Config.__struct_fields__, "name", "directory", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from([*Config.__struct_fields__, "x"]), values, max_size=4))
def test_whatever_a_file_holds_what_is_told_of_it_is_wrong(raw: dict[str, object]) -> None:
    try:
        msgspec.convert(raw, Config)
    except msgspec.ValidationError:
        return
    assert list(misfits(raw, Config)) == []


@pytest.mark.parametrize(("word", "hint"), [("qualty", " (did you mean 'quality'?)"), ("zzz", "")])
def test_only_a_word_that_is_like_it_is_offered(word: str, hint: str) -> None:
    assert nearest(word, ["quality", "thrifty"]) == hint
