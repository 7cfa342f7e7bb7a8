import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.scoring.normal import normalise
from sidecar.scoring.recipe import TextRecipe

RECIPES = st.builds(TextRecipe, lowercase=st.booleans(), collapse_space=st.booleans(), fold_unicode=st.booleans())
# Surrogates too: they cannot arrive over the wire, but out of a file they can.
ANYTHING = st.text(st.characters(codec=None))


@given(RECIPES, ANYTHING)
def test_doing_it_twice_changes_nothing(recipe: TextRecipe, text: str) -> None:
    once = normalise(recipe, text)
    assert normalise(recipe, once) == once


@given(ANYTHING)
def test_what_comes_out_can_be_encoded(text: str) -> None:
    normalise(TextRecipe(), text).encode()


@given(st.text(st.characters(codec="ascii")))
def test_ascii_takes_a_short_cut_to_the_same_result(text: str) -> None:
    assert normalise(TextRecipe(), text + " é") == f"{normalise(TextRecipe(), text)} é".strip()


@pytest.mark.parametrize(
    ("variant", "plain"),
    [
        ("WHAT   is\n\ta\u00a0Lattice? ", "what is a lattice?"),
        ("it\u2019s \u201cfine\u201d", 'it\'s "fine"'),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("\uff26\uff55\uff4c\uff4c width", "full width"),
        ("e\u0301tude", "\u00e9tude"),
        ("half \ud800 a pair", "half \ufffd a pair"),
    ],
)
def test_variants_of_spelling_become_one(variant: str, plain: str) -> None:
    assert normalise(TextRecipe(), variant) == plain


def test_the_recipe_switches_each_folding_off() -> None:
    recipe = TextRecipe(lowercase=False, collapse_space=False, fold_unicode=False)
    assert normalise(recipe, " A  \u2019B\n") == "A  \u2019B"
