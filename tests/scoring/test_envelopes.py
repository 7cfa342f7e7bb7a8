"""Each row of the table is tried, so a new row is tested as soon as it stands there."""

import re
from collections.abc import Callable

import pytest

from sidecar.errors import InvalidRequest
from sidecar.scoring.envelopes import ENDS, RULES, Form, Inside, Rule
from sidecar.scoring.recipe import TextRecipe
from sidecar.scoring.text import window_of_text, window_of_turns
from sidecar.types import Turn, Window

RECIPE = TextRecipe()
PROMPT = "Why does the ferry timetable skip Sundays in March, and how would I check it?"
BARE = window_of_text(RECIPE, PROMPT).text
CHATTER = "Noted by the machine: seven lanterns, two kettles.\n\n- a list\n- of things nobody asked about"


def wrapped(rule: Rule, prompt: str = PROMPT) -> str:
    """The prompt as a harness that follows the rule would send it."""
    if rule.form in {Form.TAG, Form.BRACKET}:
        return in_marks(rule, prompt)
    return {
        Form.HEADING: f"[{rule.opening}]\nseven lanterns\n- a list\n\n{prompt}",
        Form.FENCE: f"```{rule.opening}\n{CHATTER}\n```\n{prompt}",
        Form.LABEL: f"{rule.opening} ...\n```json\n{CHATTER}\n```\n{prompt}",
        Form.LEAD: f"{rule.opening} {CHATTER}\n\n{rule.closing} {prompt}",
        Form.PATTERN: f"{rule.example}\n\n{prompt}",
    }[rule.form]


def in_marks(rule: Rule, prompt: str) -> str:
    left, right = "<>" if rule.form is Form.TAG else "[]"
    opening, closing = f"{left}{rule.opening}{right}", f"{left}/{rule.closing}{right}"
    if rule.inside is Inside.NOISE:
        return f"{opening}\n{CHATTER}\n{closing}\n{prompt}"
    if rule.inside is Inside.PART:
        return f"{opening}{prompt}{closing}"
    return f"{CHATTER}\n{opening}\n{prompt}\n{closing}\n{CHATTER}"


def name(rule: Rule) -> str:
    return f"{rule.form.value}-{rule.opening}-{rule.closing}"


NOISE = [rule for rule in RULES if rule.inside is Inside.NOISE]
PAIRS = [rule for rule in RULES if rule.form in {Form.TAG, Form.BRACKET}]


@pytest.mark.parametrize("rule", RULES, ids=name)
def test_a_prompt_in_an_envelope_scores_as_the_bare_prompt(rule: Rule) -> None:
    window = window_of_text(RECIPE, wrapped(rule))
    assert window.text == BARE
    assert window.envelope == rule.kind


@pytest.mark.parametrize("rule", [rule for rule in PAIRS if rule.inside is Inside.NOISE], ids=name)
def test_noise_behind_or_around_the_prompt_goes_too(rule: Rule) -> None:
    noise = wrapped(rule, "")
    assert window_of_text(RECIPE, f"{PROMPT}\n{noise}").text == BARE
    assert window_of_text(RECIPE, f"{noise}{PROMPT}\n{noise}{noise}").text == BARE


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.form is Form.TAG], ids=name)
def test_attributes_of_a_tag_do_not_hide_it(rule: Rule) -> None:
    text = wrapped(rule).replace(f"<{rule.opening}>", f'<{rule.opening} id="7" path="a/b.txt">', 1)
    assert window_of_text(RECIPE, text).text == BARE


@pytest.mark.parametrize("rule", NOISE, ids=name)
def test_a_turn_of_nothing_but_noise_is_skipped(rule: Rule) -> None:
    turns = [Turn("user", PROMPT), Turn("assistant", "On it."), Turn("user", wrapped(rule, ""))]
    window = window_of_turns(RECIPE, turns)
    assert window.text == BARE
    assert window.envelope == rule.kind


@pytest.mark.parametrize("rule", NOISE, ids=name)
def test_where_there_is_nothing_but_noise_the_inside_is_scored(rule: Rule) -> None:
    text = wrapped(rule, "")
    expected = "one thing" if rule.form is Form.PATTERN else "seven lanterns"
    assert expected in window_of_text(RECIPE, text).text
    assert expected in window_of_turns(RECIPE, [Turn("user", text)]).text


@pytest.mark.parametrize("rule", PAIRS, ids=name)
@pytest.mark.parametrize("size", [0, 400_000])
def test_unclosed_marks_never_lose_the_words(rule: Rule, size: int) -> None:
    left, right = "<>" if rule.form is Form.TAG else "[]"
    opening, closing = f"{left}{rule.opening}{right}", f"{left}/{rule.closing}{right}"
    tail = " filling" * (size // 8)
    for text in (f"{PROMPT}\n{opening}\n{tail}", f"{opening}\n{PROMPT}{tail}", f"{PROMPT}\n{closing}{tail}"):
        assert BARE in window_of_text(RECIPE, text).text


@pytest.mark.parametrize("rule", [rule for rule in PAIRS if rule.inside is Inside.NOISE], ids=name)
def test_a_huge_envelope_before_or_behind_a_short_prompt_goes(rule: Rule) -> None:
    left, right = "<>" if rule.form is Form.TAG else "[]"
    noise = f"{left}{rule.opening}{right}\n{CHATTER * 12_000}\n{left}/{rule.closing}{right}\n"
    assert len(noise) > 900_000
    assert window_of_text(RECIPE, f"{noise}{PROMPT}").text == BARE
    assert window_of_text(RECIPE, f"{PROMPT}\n{noise}").text == BARE


@pytest.mark.parametrize("end", ENDS)
def test_a_question_ends_where_the_template_asks_for_the_answer(end: str) -> None:
    text = f"Use the following pieces to answer.\n{CHATTER}\nQuestion: {PROMPT}{end}"
    assert window_of_text(RECIPE, text).text == BARE


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.form is Form.PATTERN], ids=name)
def test_an_example_matches_its_pattern(rule: Rule) -> None:
    assert re.match(rule.opening, rule.example)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.form in {Form.HEADING, Form.FENCE}], ids=name)
def test_a_heading_or_fenced_block_may_stand_behind_the_prompt(rule: Rule) -> None:
    window = window_of_text(RECIPE, f"{PROMPT}\n\n{wrapped(rule, '')}")
    assert window == Window(BARE, rule.kind)


@pytest.mark.parametrize("spell", [str.lower, str.upper, str.title, str.capitalize])
def test_a_bracketed_note_counts_in_any_usual_case(spell: Callable[[str], str]) -> None:
    assert window_of_text(RECIPE, f"{PROMPT}\n\n[{spell('system reminder')}: lanterns]").text == BARE


def test_a_heading_without_a_blank_line_takes_its_line_alone() -> None:
    assert window_of_text(RECIPE, f"[Context: page 7] seven lanterns\n{PROMPT}").text == BARE


def test_behind_an_unfenced_result_the_words_are_found_where_no_other_turn_holds_any() -> None:
    order = "Summarise this in two lines."
    text = f"Tool result: seven lanterns\n\n{order}"
    assert window_of_text(RECIPE, text).text == window_of_text(RECIPE, order).text


def test_a_question_behind_an_unfenced_result_is_the_users() -> None:
    turns = [Turn("user", "Count them"), Turn("assistant", ""), Turn("user", f"Observation: seven\n\n{PROMPT}")]
    assert window_of_turns(RECIPE, turns) == Window(BARE, "tool-result")


def test_an_unclosed_fenced_block_stays() -> None:
    assert BARE in window_of_text(RECIPE, f"```tool_result\n{PROMPT}").text


def test_kinds_are_slugs() -> None:
    assert all(re.fullmatch(r"[a-z]+(?:-[a-z]+)*", rule.kind) for rule in RULES)


def test_no_name_stands_twice_in_the_table() -> None:
    keys = [(rule.form, rule.opening, rule.closing) for rule in RULES]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("rule", PAIRS, ids=name)
def test_an_envelope_without_words_is_blank(rule: Rule) -> None:
    left, right = "<>" if rule.form is Form.TAG else "[]"
    with pytest.raises(InvalidRequest, match="text"):
        window_of_text(RECIPE, f"{left}{rule.opening}{right} \n{left}/{rule.closing}{right}")
