"""Windows of recorded prompts."""

import pytest

from export.errors import DataError
from export.windows import windows_of
from sidecar.scoring.recipe import TextRecipe


def test_are_those_of_the_text_recipe() -> None:
    assert windows_of(TextRecipe(), ["  What\n IS this? "]) == ("what is this?",)
    assert len(windows_of(TextRecipe(max_chars=20), ["word " * 50])[0]) <= 20


def test_a_prompt_with_nothing_to_score_is_named_by_its_row() -> None:
    with pytest.raises(DataError, match="row 1 holds nothing to score"):
        windows_of(TextRecipe(), ["hello", "\u200b\u200b"])
