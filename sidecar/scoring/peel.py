"""Takes envelopes off a turn, in time bounded whatever its length."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

from sidecar.scoring.envelopes import ENDS, RULES, Extent, Form, Inside, Rule

# What is looked at of a turn: all of it up to twice so many characters, else so many of each end. A huge envelope may
# stand before a short question or behind it.
END = 8192
# Where marks stand closer than in any code or markup, the ends are so many times shorter: somebody wants to make us work.
DENSER = 4
MAX_MARKS = 400
# Where both ends are noise, how far words are searched between them, and behind how many blocks.
FAR = 131_072
_MAX_HOPS = 8
# Headings and fenced blocks of one turn that are taken off.
_MAX_STRETCHES = 64
# Labels and leads may follow one another.
_MAX_LABELS = 16
_FENCE = "```"
_INDENT = 8


class Peeled(NamedTuple):
    """A turn without its envelopes.

    Attributes:
        said: the user's words; blank if there were none.
        kind: of the first envelope, empty if there was none.
    """

    said: str
    kind: str


class _Block(NamedTuple):
    """An envelope in the text: [start, end) with its marks, [inner, outer) without."""

    start: int
    inner: int
    outer: int
    end: int
    rule: Rule


def _of_form(*forms: Form) -> tuple[Rule, ...]:
    return tuple(rule for rule in RULES if rule.form in forms)


def _any_of(names: Iterable[str]) -> str:
    """An alternation that branches on the first letter, so that a stranger's name is refused at its first letter."""
    by_letter: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        by_letter[name[0]].append(re.escape(name[1:]))
    branches = (f"{re.escape(letter)}(?:{'|'.join(rests)})" for letter, rests in by_letter.items())
    return f"(?:{'|'.join(branches)})"


def _spelled(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """In lower case, upper case and capitalised; folding case in the pattern makes it three times slower."""
    spellings = (str.lower, str.upper, str.capitalize, str.title)
    return tuple(rule._replace(opening=spell(rule.opening)) for rule in rules for spell in spellings)


_TAGS = {rule.opening: rule for rule in _of_form(Form.TAG)}
_BRACKETS = {rule.opening: rule for rule in _spelled(_of_form(Form.BRACKET))}
_STARTS = _of_form(Form.LABEL, Form.LEAD)
_OPENINGS = tuple(dict.fromkeys(rule.opening for rule in _STARTS))
# The first characters of these.
_STEM = min(3, *map(len, _OPENINGS))
_STEMS = frozenset(opening[:_STEM] for opening in _OPENINGS)
_CLOSINGS = {
    opening: tuple(rule.closing for rule in _STARTS if rule.opening == opening and rule.form is Form.LEAD)
    for opening in _OPENINGS
}
_LABELS = {rule.opening: rule for rule in _STARTS if rule.form is Form.LABEL}
_TURN_LABELS = tuple(rule.opening for rule in _STARTS if rule.extent is Extent.TURN)
_KINDS = {rule.opening: rule.kind for rule in _STARTS}
_TAG = re.compile(rf"<(/?)({_any_of(_TAGS)})(?:\s[^<>]{{0,512}})?>")
_BRACKET = re.compile(rf"\[(/?)({_any_of(_BRACKETS)})\]")
_PATTERNS = tuple((re.compile(rule.opening), rule) for rule in _of_form(Form.PATTERN))
_HEADINGS = {rule.opening: rule for rule in _spelled(_of_form(Form.HEADING))}
_HEADING = re.compile(rf"(?:\A|\n)\[({_any_of(_HEADINGS)})(?::[^\n\]]{{0,256}})?\](?![^\s:])")
_FENCES = {rule.opening: rule for rule in _of_form(Form.FENCE)}
_FENCED = re.compile(rf"(?:\A|\n){_FENCE}({_any_of(_FENCES)})[ \t]*\n")
_DECODER = json.JSONDecoder()


def excerpt(text: str, end: int = END) -> tuple[str, int]:
    """What of a text is looked at, found in constant time.

    Args:
        text: of any length.
        end: characters of each end that are kept of a text longer than both.

    Returns:
        At most 2 * end + 1 characters, and where text was cut out of them (0 if they are the whole).
    """
    gap = 0
    if len(text) > 2 * end:
        text, gap = f"{text[:end]}\n{text[-end:]}", end
    end //= DENSER
    if len(text) > 2 * end > 0 and _count(text, "<") + _count(text, "[") > MAX_MARKS:
        text, gap = f"{text[:end]}\n{text[-end:]}", end
    return text, gap


def _count(text: str, character: str) -> int:
    return text.count(character) if character in text else 0


def peel(text: str, end: int = END) -> Peeled:
    """Takes envelopes off a turn.

    An envelope without an end is no envelope: its words stay. Names that no rule knows stay. Inside an envelope of
    noise nothing counts as the user's.
    """
    # Most turns hold no mark that any rule begins with: a third of the time.
    if len(text) <= 2 * end and "<" not in text and "[" not in text and "`" not in text:
        bare = text.lstrip()
        if bare[:_STEM] not in _STEMS and bare[:1] != "{":
            return Peeled(bare, "")
    looked_at, gap = excerpt(text, end)
    peeled = _peel(looked_at, gap)
    if gap and not peeled.said:
        return Peeled(_between(text), peeled.kind)
    return peeled


def _peel(text: str, gap: int) -> Peeled:
    kind = ""
    if "<" in text:
        text, kind = _unwrap(text, _TAG, _TAGS, gap)
    if "[" in text and "[/" in text:  # a single character is found ten times as fast
        text, of_brackets = _unwrap(text, _BRACKET, _BRACKETS, 0)
        kind = kind or of_brackets
    if "`" in text and _FENCE in text:
        text, of_fence = _unstretched(text, _FENCED, _FENCES, "\n" + _FENCE)
        kind = kind or of_fence
    text = text.lstrip()
    for _ in range(_MAX_LABELS):
        if not text.startswith(_OPENINGS):
            break
        rest, of_start = _unlabel(text)
        kind = kind or of_start
        if rest is text:
            break
        text = rest.lstrip()
    if text.startswith(("[", "{")):
        text, of_start = _unless_result(text)
        kind = kind or of_start
    if "[" in text:
        text, of_heading = _unstretched(text, _HEADING, _HEADINGS, "\n\n")
        kind = kind or of_heading
    return Peeled(text, kind)


def inside(text: str) -> str:
    """A turn with nothing but the marks of its envelopes taken off: for turns that hold nothing but envelopes.

    Behind the first paragraph of a result that reaches to the end of its turn, the rest may be the user's.
    """
    text = _BRACKET.sub("", _TAG.sub("", excerpt(text)[0])).lstrip()
    if text.startswith(_TURN_LABELS):
        behind = text.partition("\n\n")[2]
        if behind and not behind.isspace() and _FENCE not in text:
            return behind
    return text


def _unwrap(text: str, mark: re.Pattern[str], rules: dict[str, Rule], gap: int) -> Peeled:
    """Takes off envelopes which have an opening and a closing mark.

    Args:
        text: an excerpt.
        mark: finds opening and closing marks.
        rules: by name.
        gap: where text was cut out, 0 if it is whole.
    """
    blocks, cuts = _blocks(text, mark, rules, gap)
    if not blocks and not cuts:
        return Peeled(text, "")
    blocks.sort()
    kind = blocks[0].rule.kind if blocks else ""
    noise_end = 0
    said_end = 0
    says_all = False
    for start, inner, outer, end, rule in blocks:
        if start < noise_end:
            continue
        if rule.inside is Inside.NOISE:
            cuts.append((start, end))
            noise_end = end
            continue
        cuts.append((start, inner))
        cuts.append((outer, end))
        if rule.inside is Inside.ALL and start >= said_end:
            cuts.append((said_end, start))
            said_end = end
            says_all = True
    if says_all:
        cuts.append((said_end, len(text)))
    return Peeled(_without(text, cuts), kind)


def _blocks(
    text: str, mark: re.Pattern[str], rules: dict[str, Rule], gap: int
) -> tuple[list[_Block], list[tuple[int, int]]]:
    """Pairs marks of one name, innermost first.

    Returns:
        The pairs, and stretches to leave out beside them: marks without a partner, which stand for themselves alone.
    """
    opened: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    blocks: list[_Block] = []
    cuts: list[tuple[int, int]] = []
    fences = fences_until = 0
    for found in mark.finditer(text):
        slash, name = found.groups()
        rule = rules[name]
        start, end = found.span()
        if slash:
            if opened[name]:
                blocks.append(_Block(*opened[name].pop(), start, end, rule))
            elif 0 < gap < start:
                blocks.append(_Block(gap, gap, start, end, rule))  # its partner lies in what was cut out
            elif not rule.common:
                cuts.append((start, end))
            continue
        if rule.common:
            fences += text.count(_FENCE, fences_until, start)
            fences_until = start
            if fences % 2 or not _begins_line(text, start):
                continue
        opened[name].append((start, end))
    opened_noise = [marks[0][0] for name, marks in opened.items() if marks and rules[name].inside is Inside.NOISE]
    if gap and any(block.start == gap and block.rule.inside is Inside.NOISE for block in blocks):
        # Blocks of noise meet in what was cut out.
        cuts.extend((start, gap) for start in opened_noise if start < gap)
    cuts.extend(span for name, marks in opened.items() if not rules[name].common for span in marks)
    return blocks, cuts


def _begins_line(text: str, start: int) -> bool:
    before = text[max(0, start - _INDENT) : start].rstrip(" \t")
    return not before or before[-1] in "\n>]"


def _without(text: str, cuts: list[tuple[int, int]]) -> str:
    cuts.sort()
    pieces = []
    at = 0
    for start, end in cuts:
        if start > at:
            pieces.append(text[at:start])
        at = max(at, end)
    pieces.append(text[at:])
    return "\n".join(pieces)


def _unlabel(text: str) -> Peeled:
    """Takes the label or lead off that a text begins with; gives the very same text back if it only looks like one."""
    opening = next(opening for opening in _OPENINGS if text.startswith(opening))
    said = _behind(text, _CLOSINGS[opening])
    if said is not None:
        return Peeled(said, _KINDS[opening])
    label = _LABELS.get(opening)
    if label is None:
        return Peeled(text, "")
    rest = text.partition("\n")[2]
    if rest.lstrip().startswith(_FENCE):
        _, closed, after = rest.partition(_FENCE)[2].partition("\n" + _FENCE)
        if closed:
            return Peeled(after, label.kind)
    if label.extent is Extent.TURN:
        return Peeled(_asked_last(text), label.kind)
    # The words of the user may stand on the line of the label, if it is the only one.
    return Peeled(rest, label.kind)


def _unless_result(text: str) -> Peeled:
    for pattern, rule in _PATTERNS:
        if pattern.match(text):
            if rule.extent is Extent.TURN:
                return Peeled(_asked_last(text), rule.kind)
            try:
                _, end = _DECODER.raw_decode(text)
            except (ValueError, RecursionError):  # cut short, or never was JSON
                return Peeled("", rule.kind)
            return Peeled(text[end:].lstrip(), rule.kind)
    return Peeled(text, "")


def _asked_last(text: str) -> str:
    """The last paragraph if it is a question: a person wrote it behind what a tool gave back."""
    paragraph = text.rstrip().rpartition("\n\n")[2]
    return paragraph if paragraph.endswith("?") and "\n" not in paragraph else ""


def _unstretched(text: str, mark: re.Pattern[str], rules: dict[str, Rule], closing: str) -> Peeled:
    """Takes off stretches of noise from a mark to the next closing; one without closing that begins the turn is a line.

    Without closing, a fenced block stays, and a heading reaches to the end.
    """
    cuts: list[tuple[int, int]] = []
    kind = ""
    at = 0
    for found in islice(mark.finditer(text), _MAX_STRETCHES):
        if found.start() < at:
            continue
        close = text.find(closing, found.end() - 1)
        if close >= 0:
            at = close + len(closing)
        elif closing != "\n\n":
            break
        else:
            line = text.find("\n", found.end()) if found.start() == 0 else -1
            at = len(text) if line < 0 else line
        cuts.append((found.start(), at))
        kind = kind or rules[found.group(1)].kind
    return Peeled(_without(text, cuts).lstrip(), kind) if cuts else Peeled(text, "")


def _between(text: str) -> str:
    """The user's words between blocks of noise, where both ends of a turn are full of these."""
    at = 0
    for _ in range(_MAX_HOPS):
        near = text[at : at + END]
        opening = next((found for found in _TAG.finditer(near) if _opens_noise(found)), None)
        said = _peel(near[: opening.start()] if opening else near, 0).said
        if said or not opening:
            return said
        closing = f"</{opening.group(2)}>"
        end = text.find(closing, at + opening.end(), FAR)
        if end < 0:
            break
        at = end + len(closing)
    return ""


def _opens_noise(found: re.Match[str]) -> bool:
    return not found.group(1) and _TAGS[found.group(2)].inside is Inside.NOISE


def _behind(text: str, closings: tuple[str, ...]) -> str | None:
    """What stands behind the last of some words at the start of a line, up to an end; None if they do not occur."""
    at, words = max(((text.rfind("\n" + closing), closing) for closing in closings), default=(-1, ""))
    if at < 0:
        return None
    said = text[at + 1 + len(words) :].lstrip(": \t")
    for end in ENDS:
        said = said.partition(end)[0]
    return said
