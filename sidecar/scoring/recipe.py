"""The text recipe as data: it lies in the manifest and is the same at training and at serving."""

from typing import Annotated

import msgspec

Positive = Annotated[int, msgspec.Meta(ge=1)]


class TextRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of a request is scored.

    Attributes:
        version: of the rules in sidecar.scoring.text; a bundle of a later version is refused.
        max_chars: budget of the window in characters, whatever the request's size.
        lowercase: fold case, so that shouting does not change the choice.
        collapse_space: runs of white space become one space.
        fold_unicode: compatibility forms (NFKC), curly quotes and zero-width characters are folded.
    """

    version: int = 1
    max_chars: Positive = 2048
    lowercase: bool = True
    collapse_space: bool = True
    fold_unicode: bool = True
