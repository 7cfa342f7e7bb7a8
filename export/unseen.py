"""What cross-validation expected of the training prompts, by networks that had not seen them: a teacher's honest word."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from export.errors import DataError
from export.outcomes import OUT_TOKENS, QUALITY, Outcomes, read_outcomes
from sidecar.types import Floats


class Unseen(NamedTuple):
    """Expectations for N prompts and C candidates.

    Attributes:
        quality: [N, C] calibrated.
        output_tokens: [N, C].
    """

    quality: Floats
    output_tokens: Floats


def write_unseen(path: Path, outcomes: Outcomes, unseen: Unseen) -> None:
    """Writes a Parquet file in the format of outcomes.

    Raises:
        DataError: it cannot be written.
    """
    columns: dict[str, object] = {"prompt": list(outcomes.prompts)}
    for c, name in enumerate(outcomes.candidates):
        columns[QUALITY + name] = unseen.quality[:, c]
        columns[OUT_TOKENS + name] = unseen.output_tokens[:, c]
    try:
        pq.write_table(pa.table(columns), path)
    except OSError as error:
        raise DataError(f"--out-of-fold: {path} cannot be written: {error.strerror or error}.") from None


def read_unseen(path: Path, outcomes: Outcomes) -> Unseen:
    """Reads the expectations of these outcomes' prompts, whatever their order in the file.

    Raises:
        DataError: the file is none, has other candidates, or lacks a prompt.
    """
    found = read_outcomes(path, outcomes.candidates)
    row_of = {prompt: row for row, prompt in enumerate(found.prompts)}
    try:
        rows = np.array([row_of[prompt] for prompt in outcomes.prompts], np.int64)
    except KeyError:
        raise DataError(
            f"--teacher-scores: {path} lacks prompts of the data; write it with --out-of-fold while the teacher is trained"
            " on the same file."
        ) from None
    return Unseen(found.quality[rows], found.output_tokens[rows])
