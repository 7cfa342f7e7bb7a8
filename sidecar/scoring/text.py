"""The text recipe: which words of a request are scored.

A user turn is often not what the user wrote, since agent harnesses wrap it; and the last turn is often not the one that
asks. So: the last user turn in which somebody said something, without its envelopes and without what earlier turns of
the session held already; a mere consent goes with what it consents to.

The system prompt is left out, however short the turn. It is constant in a session and often longer than every turn in
it: with it in the window the same question would score differently in every client, and a short one would be scored
mostly by words that are not the user's.
"""

from collections.abc import Sequence

from sidecar.errors import InvalidRequest
from sidecar.scoring.consent import MAX_CHARS as MAX_CONSENT_CHARS
from sidecar.scoring.consent import is_consent
from sidecar.scoring.normal import normalise
from sidecar.scoring.peel import DENSER, END, inside, peel
from sidecar.scoring.recipe import TextRecipe
from sidecar.types import Turn, Window

# How far a conversation is searched for the last real user turn: so many turns from its end and so many characters of
# these, then the same of its start. An agent sends one turn of tool results after the other, each of them large.
LAST_TURNS = 2048
FIRST_TURNS = 64
SEARCHED_CHARS = 65_536
# What is looked at of both ends of turns before the last one.
EARLIER_END = 2048
# What a consent approves should be at least so long, else the turn before it is added.
ENOUGH_CHARS = 240
# Turns that are looked at for what a consent approves.
MAX_APPROVED_TURNS = 24
# Earlier user turns which the last one is compared with, and how much of each.
EARLIER_TURNS = 3
EARLIER_CHARS = 4096
# Shorter repetitions are no constants of the session: people repeat themselves.
MIN_CONSTANT_CHARS = 32

_REMEDY = f"send what the user wrote, within the first or last {END // DENSER} characters"


def window_of_text(recipe: TextRecipe, text: str) -> Window:
    """The window of a plain prompt.

    Args:
        recipe: of the bundle.
        text: the prompt, of any length.

    Returns:
        The normalised window of at most recipe.max_chars characters, and the kind of the envelope.

    Raises:
        InvalidRequest: the text is blank.
    """
    said, kind = peel(text, max(END, recipe.max_chars))
    window = _cut(recipe, said) or _cut(recipe, inside(text))
    if not window:
        raise InvalidRequest(f"text is blank: {_REMEDY}.")
    return Window(window, kind)


def window_of_turns(recipe: TextRecipe, turns: Sequence[Turn]) -> Window:
    """The window of a conversation.

    Args:
        recipe: of the bundle.
        turns: oldest first; any number of them.

    Returns:
        The normalised window of at most recipe.max_chars characters, and the kind of the envelope.

    Raises:
        InvalidRequest: no user turn, or none that is not blank.
    """
    count = len(turns)
    newest = count - 1
    oldest = max(0, count - LAST_TURNS)
    while newest >= oldest and turns[newest].role != "user":
        newest -= 1
    if newest < oldest:
        newest = -1
    skipped = ""
    if newest >= 0:
        said, kind = peel(turns[newest].text, max(END, recipe.max_chars))
        window = _window(recipe, turns, newest, said)
        if window:
            return Window(window, kind)
        skipped = kind
    for indices in (range(newest - 1, oldest - 1, -1), range(min(FIRST_TURNS, count))):
        index, said, kind = _first_said(recipe, turns, indices)
        window = _window(recipe, turns, index, said)
        if window:
            return Window(window, kind or skipped)
        newest = max(newest, index)
    if newest < 0:
        raise InvalidRequest("messages holds no user turn: add one with role `user`.")
    window = _cut(recipe, inside(turns[newest].text))
    if not window:
        raise InvalidRequest(f"messages holds no user turn with text: {_REMEDY}.")
    return Window(window, skipped)


def _first_said(recipe: TextRecipe, turns: Sequence[Turn], indices: range) -> tuple[int, str, str]:
    """The first of some turns in which a user said something: its index, the words, the kind of its envelope.

    Without one, the index is that of the last user turn that was looked at, -1 if there was none, and the words are
    empty.
    """
    end = max(EARLIER_END, recipe.max_chars)
    user = -1
    left = SEARCHED_CHARS
    for index in indices:
        role, text = turns[index]
        if role != "user":
            continue
        user = index
        said, kind = peel(text, end)
        if said and not said.isspace():
            return index, said, kind
        left -= min(len(text), 2 * end) + 64  # an empty turn is some work too
        if left < 0:
            break
    return user, "", ""


def _window(recipe: TextRecipe, turns: Sequence[Turn], index: int, said: str) -> str:
    """The window of what a user said in one turn; empty if it was nothing."""
    if index <= 0 or not said:
        return _cut(recipe, said)
    if "\n" in said:
        said = _without_constants(turns, index, said)
    if len(said) <= MAX_CONSENT_CHARS + MAX_CONSENT_CHARS and is_consent(said.strip()):
        approved = _approved(recipe, turns, index)
        if approved:
            return _joined(recipe, approved, normalise(recipe, said))
    return _cut(recipe, said)


def _approved(recipe: TextRecipe, turns: Sequence[Turn], index: int) -> str:
    """What a consent approves: the assistant's turn before it; if that is short, also what led to it."""
    end = max(EARLIER_END, recipe.max_chars)
    parts: list[str] = []
    length = 0
    for at in range(index - 1, max(-1, index - 1 - MAX_APPROVED_TURNS), -1):
        role, text = turns[at]
        if role not in {"assistant", "user"}:
            continue
        said = peel(text, end).said.strip()
        if not said or (role == "user" and is_consent(said)):
            continue
        parts.append(said)
        length += len(said)
        if role == "user" or length >= ENOUGH_CHARS:
            break
    return "\n".join(reversed(parts))


def _joined(recipe: TextRecipe, approved: str, consent: str) -> str:
    """A consent behind what it approves, of which the end matters most: there stands the question."""
    room = recipe.max_chars - len(consent) - 1
    if room <= 0:
        return _cut(recipe, approved)
    return f"{_cut(recipe, approved, tail=room - room // 3, budget=room)} {consent}".lstrip()


def _without_constants(turns: Sequence[Turn], index: int, said: str) -> str:
    """Drops the first and last lines that an earlier user turn held as well, unless that is all there is."""
    lines = said.split("\n")
    earlier: set[str] = set()
    left = EARLIER_TURNS
    for at in range(index - 1, max(-1, index - 1 - MAX_APPROVED_TURNS), -1):
        if turns[at].role == "user":
            text = turns[at].text
            if len(text) > EARLIER_CHARS:
                text = f"{text[: EARLIER_CHARS // 2]}\n{text[-EARLIER_CHARS // 2 :]}"
            earlier.update(text.split("\n"))
            left -= 1
            if not left:
                break
    first, last = 0, len(lines)
    while first < last and _is_constant(lines[first], earlier):
        first += 1
    if first == last:
        return said
    while _is_constant(lines[last - 1], earlier):
        last -= 1
    if sum(map(len, lines[:first])) < MIN_CONSTANT_CHARS:
        first = 0
    if sum(map(len, lines[last:])) < MIN_CONSTANT_CHARS:
        last = len(lines)
    return "\n".join(lines[first:last])


def _is_constant(line: str, earlier: set[str]) -> bool:
    """Whether a line is blank or repeated; a question and what announces something are asked anew each time."""
    return not line or line.isspace() or (line in earlier and "?" not in line and not line.rstrip().endswith(":"))


def _cut(recipe: TextRecipe, text: str, tail: int = -1, budget: int = 0) -> str:
    """Normalises a text and cuts it to the budget: all of it if it fits, else its head and tail.

    Args:
        recipe: of the bundle.
        text: of any length.
        tail: characters of the budget that the tail gets; half of them if negative.
        budget: characters; the recipe's if 0.
    """
    budget = budget or recipe.max_chars
    if len(text) > 2 * budget:
        # A quarter more than is needed, since runs of white space go.
        end = budget * 5 // 8 + 1
        text = f"{text[:end]}\n{text[-end:]}"
    text = normalise(recipe, text)
    if len(text) <= budget:
        return text
    tail = budget // 2 if tail < 0 else tail
    head = text[: max(0, budget - tail - 1)].rstrip()
    return f"{head} {text[len(text) - tail :].lstrip()}" if head else text[len(text) - budget :].lstrip()
