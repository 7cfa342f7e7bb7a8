"""The windows of recorded prompts, cut by the recipe that serves."""

from collections.abc import Sequence

from export.errors import DataError
from sidecar.errors import InvalidRequest
from sidecar.scoring.recipe import TextRecipe
from sidecar.scoring.text import window_of_text


def windows_of(recipe: TextRecipe, prompts: Sequence[str]) -> tuple[str, ...]:
    """The texts that are scored of prompts.

    Raises:
        DataError: nothing of a prompt is left to score; the message names its row.
    """
    windows = []
    for row, prompt in enumerate(prompts):
        try:
            windows.append(window_of_text(recipe, prompt).text)
        except InvalidRequest:
            raise DataError(
                f"the prompt of labelled row {row} holds nothing to score (only harness blocks or invisible "
                "characters); drop that row."
            ) from None
    return tuple(windows)
