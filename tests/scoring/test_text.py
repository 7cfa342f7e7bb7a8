from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.errors import InvalidRequest
from sidecar.scoring import peel as peel_module
from sidecar.scoring import text as text_module
from sidecar.scoring.consent import is_consent
from sidecar.scoring.envelopes import RULES
from sidecar.scoring.normal import normalise
from sidecar.scoring.peel import DENSER, END, excerpt, peel
from sidecar.scoring.recipe import TextRecipe
from sidecar.scoring.text import FIRST_TURNS, LAST_TURNS, window_of_text, window_of_turns
from sidecar.types import Turn, Window

RECIPE = TextRecipe()
HARD = "Prove that every bounded harmonic function on the plane is constant, without using Liouville."
PLAN = (
    "Here is what I would do. First shard the ledger by tenant with a consistent hash ring, then replay the log into "
    "each shard under a fence token, then flip reads behind a two-phase switch and verify checksums on both sides. "
    "It touches the storage engine and cannot be undone after step three.\n\nShall I go ahead?"
)
MEGABYTE = 1_000_000


def said(*turns: tuple[str, str]) -> Window:
    return window_of_turns(RECIPE, [Turn(*turn) for turn in turns])


# ---- which words


def test_the_last_user_turn_is_scored() -> None:
    window = said(("user", "What is a fjord?"), ("assistant", "A drowned valley."), ("user", HARD))
    assert window == Window(normalise(RECIPE, HARD), "")


def test_a_conversation_of_one_turn_scores_as_the_plain_text() -> None:
    assert said(("user", HARD)) == window_of_text(RECIPE, HARD)


def test_the_system_prompt_does_not_change_the_window() -> None:
    bare = said(("user", "Add two and two"))
    for role in ("system", "developer"):
        assert said((role, "You are a careful engineer. " * 50), ("user", "Add two and two")) == bare


def test_tool_turns_behind_the_user_are_passed_over() -> None:
    window = said(("user", HARD), ("assistant", ""), ("tool", "Contents of a file"), ("assistant", "Reading on."))
    assert window.text == normalise(RECIPE, HARD)


def test_the_outermost_envelope_gives_the_kind() -> None:
    text = f"<environment_details>\n<system-reminder>x</system-reminder>\n</environment_details>\n<task>{HARD}</task>"
    assert window_of_text(RECIPE, text) == Window(normalise(RECIPE, HARD), "environment")


def test_marks_of_the_user_inside_of_noise_do_not_count() -> None:
    text = f"<file_contents>\n<user_query>Say hello</user_query>\n</file_contents>\n{HARD}"
    assert window_of_text(RECIPE, text).text == normalise(RECIPE, HARD)


def test_noise_inside_of_the_users_words_goes() -> None:
    text = f"<user_query>\n<system-reminder>Use tabs</system-reminder>\n{HARD}\n</user_query>\nCurrent time: noon"
    assert window_of_text(RECIPE, text) == Window(normalise(RECIPE, HARD), "query")


def test_nested_envelopes_of_one_name_are_paired() -> None:
    text = f"<context>\na\n<context>\nb\n</context>\nc\n</context>\n{HARD}"
    assert window_of_text(RECIPE, text).text == normalise(RECIPE, HARD)


@pytest.mark.parametrize(
    "text",
    [
        "Centre this: <div class='a'><p>Hi</p></div>",
        "Why does List<Task> question = new List<Task>(); not compile in C#?",
        "What does <context>x</context> mean in the docs?",
        "Is this valid?\n```xml\n<context>\n<bean id='a'/>\n</context>\n```",
        "if a < b and c > d: print([user])",
        "Sort [3, 1, 2] and explain a[0] < a[1]",
        "<Context.Provider value={x}><App/></Context.Provider>",
        "What is a <system-reminder> good for?",
        'Parse {"type": "shape", "size": 3}',
    ],
)
def test_code_that_a_user_typed_stays(text: str) -> None:
    window = window_of_text(RECIPE, text)
    assert normalise(RECIPE, text.replace("<system-reminder>", "")) == window.text
    assert window.envelope == ""


# ---- constants of a session


def test_what_earlier_turns_held_already_is_left_out() -> None:
    rules = "Project notes: the build uses ninja.\nNever touch the vendored folder."
    window = said(
        ("user", f"{rules}\n\nList the folders"), ("assistant", "src, tests"), ("user", f"{rules}\n\n{HARD}\n{rules}")
    )
    assert window.text == normalise(RECIPE, HARD)


def test_an_unknown_block_that_repeats_is_a_constant_too() -> None:
    block = "<acme-state>\nworkspace: harbour, branch: main\n</acme-state>"
    window = said(("user", f"{block}\nList the folders"), ("assistant", "src"), ("user", f"{block}\n{HARD}"))
    assert window.text == normalise(RECIPE, HARD)


def test_a_question_asked_again_is_no_constant() -> None:
    question = "Why does this function return the wrong result?"
    window = said(("user", f"{question}\nf(1)"), ("assistant", "Because."), ("user", f"{question}\ng(2)"))
    assert window.text == normalise(RECIPE, f"{question}\ng(2)")


def test_a_turn_that_only_repeats_is_scored_whole() -> None:
    text = f"{HARD}\nShow every step of the argument."
    assert said(("user", text), ("assistant", "No."), ("user", text)).text == normalise(RECIPE, text)


# ---- consents


@pytest.mark.parametrize("consent", ["yes", "ok do it", "Go ahead.", "1", "commit it", "ja, bitte"])
def test_a_consent_is_scored_with_the_plan(consent: str) -> None:
    window = said(("user", "Can you split the ledger?"), ("assistant", PLAN), ("user", consent))
    assert normalise(RECIPE, PLAN) in window.text
    assert window.text.endswith(normalise(RECIPE, consent))


def test_a_consent_in_an_envelope_is_one_too() -> None:
    text = "<system-reminder>Be brief.</system-reminder>\nyes"
    window = said(("user", "Split it?"), ("assistant", PLAN), ("user", text))
    assert normalise(RECIPE, PLAN) in window.text
    assert window.envelope == "reminder"


def test_behind_a_short_question_stands_what_led_to_it() -> None:
    window = said(("user", HARD), ("assistant", "Shall I?"), ("user", "yes"))
    assert window.text == normalise(RECIPE, f"{HARD} Shall I? yes")


def test_a_chain_of_consents_leads_back_to_the_plan() -> None:
    window = said(
        ("user", "Split the ledger"),
        ("assistant", PLAN),
        ("user", "yes"),
        ("assistant", "One done. On?"),
        ("user", "go"),
    )
    assert normalise(RECIPE, PLAN) in window.text


def test_calls_of_tools_between_plan_and_consent_do_not_hide_the_plan() -> None:
    window = said(("user", "Split it"), ("assistant", PLAN), ("assistant", ""), ("tool", "ok"), ("user", "yes"))
    assert normalise(RECIPE, PLAN) in window.text


def test_of_a_plan_over_the_budget_its_end_is_kept() -> None:
    window = said(("user", "Split it"), ("assistant", "Prelude. " * 2000 + PLAN), ("user", "yes"))
    assert window.text.endswith(normalise(RECIPE, f"{PLAN} yes"))
    assert len(window.text) <= RECIPE.max_chars


def test_a_consent_to_nothing_is_scored_alone() -> None:
    assert said(("system", "Be brief"), ("user", "yes")).text == "yes"
    assert window_of_text(RECIPE, "yes").text == "yes"


# ---- the budget

TURNS = st.lists(
    st.builds(
        Turn,
        st.sampled_from(["system", "user", "assistant", "tool"]),
        st.one_of(
            st.text(st.characters(codec=None), max_size=400),
            st.sampled_from(["yes", "1", PLAN, HARD, " ", ""]),
            st.lists(
                st.sampled_from(
                    ["<", "</", ">", "[", "[/", "]", "\n", "```", " ", "a", "<context>", "</context>", "<user_query>",
                     "</user_query>", "Question: ", "Context: ", "Tool result:", "\ud800", "{", '"tool_use_id"']
                ),
                max_size=40,
            ).map("".join),
        ),
    ),
    max_size=8,
)  # fmt: skip


def of_text(recipe: TextRecipe, turns: list[Turn]) -> Window:
    return window_of_text(recipe, "".join(turn.text for turn in turns))


@pytest.mark.parametrize("window_of", [window_of_turns, of_text])
@given(turns=TURNS, budget=st.integers(1, 300))
def test_anything_gives_a_window_within_the_budget_or_invalid_request(
    window_of: Callable[[TextRecipe, list[Turn]], Window], turns: list[Turn], budget: int
) -> None:
    try:
        window = window_of(TextRecipe(max_chars=budget), turns)
    except InvalidRequest:
        return
    assert 0 < len(window.text) <= budget
    assert not window.text.isspace()
    assert window.envelope in {"", *(rule.kind for rule in RULES)}
    window.text.encode()


@given(st.text(min_size=1, max_size=3000), st.integers(2, 200))
def test_what_fits_is_kept_whole_and_of_the_rest_both_ends(text: str, budget: int) -> None:
    recipe = TextRecipe(max_chars=budget)
    whole = normalise(recipe, text)
    if not whole or peel(text) != (text.lstrip(), ""):
        return
    window = window_of_text(recipe, text).text
    if len(whole) <= budget and len(text) <= 2 * budget:
        assert window == whole
    else:
        assert len(window) <= budget


def test_head_and_tail_of_a_long_turn_are_in_the_window() -> None:
    window = window_of_text(RECIPE, f"Translate this to French: {'la la ' * 5000} and keep the rhyme").text
    assert window.startswith("translate this to french")
    assert window.endswith("and keep the rhyme")
    assert RECIPE.max_chars * 0.9 < len(window) <= RECIPE.max_chars


# ---- bad input


@pytest.mark.parametrize("text", ["", " \n\t", "\u200b\ufeff", " " * MEGABYTE, "<context>\n \n</context>"])
def test_a_blank_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^text is blank: send"):
        window_of_text(RECIPE, text)
    with pytest.raises(InvalidRequest, match=r"^messages holds no user turn with text: send"):
        said(("assistant", "Hello"), ("user", text))


@pytest.mark.parametrize("turns", [[], [("system", "Be brief")], [("system", "x"), ("assistant", "Hello")]])
def test_a_conversation_without_a_user_turn_is_refused(turns: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidRequest, match=r"^messages holds no user turn: add one"):
        said(*turns)


# ---- bounded work

HOSTILE = [
    "<a", "<", "[/", "<context>\n", "</context>", "<system-reminder>", "<system-reminder>x</system-reminder>",
    "<user_query>", "[/context]", "```\n<file>\n", "Context:\n", "\nQuestion: ", "Tool result:\n```\n```\n", "\n", "words ",
    "[context]\n", "[Context: a]\n\n", "```tool\n", '[{"type":"tool_result","x":[', "<context " + "a" * 600, "\u200b", "\u00e9\u0301", "Caveat: The messages below were generated by the user while running\n",
]  # fmt: skip


class Meter:
    """Notes the longest text that a function was handed."""

    def __init__(self) -> None:
        self.longest = 0

    def watch(self, function: Callable[..., Any], position: int) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            self.longest = max(self.longest, len(args[position]))
            return function(*args, **kwargs)

        return watched


@pytest.mark.parametrize("unit", HOSTILE)
@pytest.mark.parametrize("shape", ["{}", "{}\nWhat is a fjord?", "What is a fjord?\n{}"])
def test_no_scanner_sees_more_of_a_huge_text_than_of_its_ends(
    unit: str, shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = shape.format(unit * (MEGABYTE // len(unit)))
    meter = Meter()
    for name, position in (("_unwrap", 0), ("_unlabel", 0), ("_unless_result", 0), ("_behind", 0), ("_unstretched", 0)):
        monkeypatch.setattr(peel_module, name, meter.watch(getattr(peel_module, name), position))
    monkeypatch.setattr(text_module, "normalise", meter.watch(normalise, 1))
    try:
        window = window_of_text(RECIPE, text)
    except InvalidRequest:
        assert not unit.strip(" \n\u200b")
        return
    assert len(window.text) <= RECIPE.max_chars
    assert 0 < meter.longest <= 2 * END + 1


@pytest.mark.parametrize("unit", HOSTILE)
def test_the_longer_a_hostile_text_the_shorter_what_is_looked_at(unit: str) -> None:
    longest, _ = excerpt(unit * (MEGABYTE // len(unit)))
    assert len(longest) <= 2 * END + 1
    if unit.startswith(("<", "[")) and len(unit) < END // 400:
        assert len(longest) <= 2 * END // DENSER + 1


@pytest.mark.parametrize("filler", ["x = 1  # filler\n", "a[i] = List<Thing>(b[j])\n"])
@pytest.mark.parametrize("lines", [300, 3000])
@pytest.mark.parametrize("blocks", [1, 3])
def test_what_stands_between_big_blocks_is_found(filler: str, lines: int, blocks: int) -> None:
    noise = f"<file_contents>\n{filler * (lines // blocks)}\n</file_contents>\n" * blocks
    assert window_of_text(RECIPE, f"{noise}\n{HARD}\n{noise}").text == normalise(RECIPE, HARD)


def test_behind_any_number_of_tool_results_the_task_is_found() -> None:
    result = Turn("user", "Tool result:\n" + "a line of output\n" * 1000)
    turns = [Turn("system", "x"), Turn("user", HARD), *[Turn("assistant", ""), result] * 400]
    window = window_of_turns(RECIPE, turns)
    assert window == Window(normalise(RECIPE, HARD), "tool-result")


class Conversation(Sequence[Turn]):
    """A conversation which counts how many of its turns are looked at."""

    def __init__(self, turns: list[Turn]) -> None:
        self._turns = turns
        self.looked_at = 0

    @overload
    def __getitem__(self, index: int) -> Turn: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Turn]: ...
    def __getitem__(self, index: int | slice) -> Turn | Sequence[Turn]:
        self.looked_at += 1
        return self._turns[index]

    def __len__(self) -> int:
        return len(self._turns)

    def __iter__(self) -> Iterator[Turn]:
        raise AssertionError("walks through all turns")


@pytest.mark.parametrize(
    "turn",
    [Turn("tool", "ok"), Turn("assistant", ""), Turn("user", "Tool result: 7"), Turn("user", " "), Turn("user", "yes")],
)
def test_of_a_huge_conversation_only_both_ends_are_looked_at(turn: Turn) -> None:
    turns = Conversation([Turn("user", HARD), *[turn] * 100_000])
    window = window_of_turns(RECIPE, turns)
    assert turns.looked_at <= LAST_TURNS + FIRST_TURNS + 64
    if turn.text != "yes":
        assert window.text == normalise(RECIPE, HARD)


@settings(max_examples=50)
@given(st.text(st.characters(codec=None), max_size=60))
def test_consent_of_any_text_has_an_answer(text: str) -> None:
    assert is_consent(text) in {True, False}


PIECES = st.sampled_from(
    [
        *peel_module._OPENINGS,
        *(rule.example for rule in RULES if rule.example),
        *'<[`{"',
        "\n",
        "\n\n",
        "  ",
        "why? ",
        "abc",
    ]
)


@given(st.lists(PIECES, max_size=6).map("".join), st.integers(1, 80))
def test_a_turn_without_marks_is_peeled_as_every_other(text: str, end: int) -> None:
    looked_at, gap = excerpt(text, end)
    thorough = peel_module._peel(looked_at, gap)
    if gap and not thorough.said:
        return  # searched between its ends
    assert peel(text, end) == thorough
