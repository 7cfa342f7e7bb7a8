"""Spelling differences that should not change a decision, folded."""

import re
from unicodedata import is_normalized, normalize

from sidecar.scoring.recipe import TextRecipe

# One pass does not always reach a fixed point: lower case may leave what NFKC composes, and NFKC what is folded here.
_PASSES = 4
_FOLDED = {
    "'": "\u2018\u2019\u201a\u201b\u2032",
    '"': "\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb",
    # Soft hyphen, zero-width characters, marks of direction, byte order mark.
    "": "\u00ad\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2061\u2062\u2063\u2064"
    "\u2066\u2067\u2068\u2069\ufeff",
}
_FOLDS = tuple((odd, plain) for plain, odds in _FOLDED.items() for odd in odds)
_ODD = re.compile(f"[{''.join(_FOLDED.values())}]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def normalise(recipe: TextRecipe, text: str) -> str:
    """Folds a text as the recipe says; doing it twice changes nothing more.

    Lone surrogates, which no tokenizer takes, become U+FFFD. ASCII skips all but case and white space; the caller
    bounds the length.
    """
    if not text.isascii():
        text = _fold(recipe, text)
    elif recipe.lowercase:
        text = text.lower()
    return " ".join(text.split()) if recipe.collapse_space else text.strip()


def _fold(recipe: TextRecipe, text: str) -> str:
    try:
        text.encode()  # a quarter of the time that a search takes
    except UnicodeEncodeError:
        text = _SURROGATE.sub("\ufffd", text)
    if not recipe.fold_unicode:
        return text.lower() if recipe.lowercase else text
    for _ in range(_PASSES):
        if _ODD.search(text):
            for odd, plain in _FOLDS:  # an eighth of the time of str.translate
                text = text.replace(odd, plain)
        composed = is_normalized("NFKC", text)
        if not composed:
            text = normalize("NFKC", text)
        if recipe.lowercase:
            text = text.lower()
        if composed and is_normalized("NFKC", text):
            break
    return text
