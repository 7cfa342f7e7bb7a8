"""Spelling differences that should not change a decision, folded."""

import re
from unicodedata import is_normalized, normalize

from sidecar.scoring.recipe import TextRecipe

# One pass does not always reach a fixed point: lower case may decompose what NFKC then composes.
_PASSES = 4
_QUOTES = {"'": "\u2018\u2019\u201a\u201b\u2032", '"': "\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb"}
_UNSEEN = "\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
_UNSEEN_RUN = re.compile(f"[{_UNSEEN}]+")
_ODD = re.compile(f"[{_UNSEEN}{''.join(_QUOTES.values())}]")
_FOLDS = tuple((odd, plain) for plain, odds in _QUOTES.items() for odd in odds)
_SURROGATE = re.compile("[\ud800-\udfff]")


def normalise(recipe: TextRecipe, text: str) -> str:
    """Folds a text as the recipe says; doing it twice changes nothing more.

    Lone surrogates, which no tokenizer takes, become U+FFFD. Costs a few microseconds for ASCII of 200 characters;
    the caller bounds the length.
    """
    if not text.isascii():
        return _normalise_unicode(recipe, text)
    if recipe.lowercase:
        text = text.lower()
    return " ".join(text.split()) if recipe.collapse_space else text.strip()


def _normalise_unicode(recipe: TextRecipe, text: str) -> str:
    if _SURROGATE.search(text):
        text = _SURROGATE.sub("\ufffd", text)
    for _ in range(_PASSES):
        before = text
        if recipe.fold_unicode:
            if _ODD.search(text):
                text = _UNSEEN_RUN.sub("", text)
                for odd, plain in _FOLDS:  # str.translate takes eight times as long
                    text = text.replace(odd, plain)
            if not is_normalized("NFKC", text):
                text = normalize("NFKC", text)
        if recipe.lowercase:
            text = text.lower()
        text = " ".join(text.split()) if recipe.collapse_space else text.strip()
        if text == before:
            break
    return text
