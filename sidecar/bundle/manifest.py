"""The manifest of a bundle: everything that can be known of a router without loading it."""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from sidecar.scoring.recipe import TextRecipe

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
MODEL = "model.onnx"
TOKENIZER = "tokenizer.json"
REFERENCE = "reference.npz"
GOLDEN = "golden.json"
SIGNATURES = "signatures.json"
# The same router in other precisions: half for GPUs, and full, to measure the others by. A bundle may have them.
MODEL_FP16, GOLDEN_FP16 = "model.fp16.onnx", "golden.fp16.json"
MODEL_FP32, GOLDEN_FP32 = "model.fp32.onnx", "golden.fp32.json"
# Models, each with the golden vectors that it must reproduce.
GOLDEN_OF: Mapping[str, str] = {MODEL: GOLDEN, MODEL_FP16: GOLDEN_FP16, MODEL_FP32: GOLDEN_FP32}

# \Z, not $: `$` would also match before a newline at the end.
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}\Z")]
# Far beyond any price and any answer; it keeps products finite.
Price = Annotated[float, msgspec.Meta(ge=0.0, le=1e9)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A value object of the manifest: immutable, and no key goes unnoticed."""


class TrainedCandidate(Record, frozen=True):
    """A candidate as it was at training; the order is that of the model's outputs.

    Attributes:
        name: of the candidate.
        prior_quality: mean quality on the training data; what is believed of prompts unlike them.
        mean_output_tokens: mean answer length on the training data (0 if the data has none).
        input_usd_per_mtok: USD per million input tokens at training; the config may override it.
        output_usd_per_mtok: USD per million output tokens at training; the config may override it.
    """

    name: Name
    prior_quality: Share
    mean_output_tokens: Price
    input_usd_per_mtok: Price
    output_usd_per_mtok: Price


class TokenizerLimits(Record, frozen=True):
    """How windows are tokenised: at most max_tokens tokens, short rows of a batch filled with pad_id."""

    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=8192)]
    pad_id: Count = 0


class TrainingData(Record, frozen=True):
    """The fingerprint of the data that the router was trained on.

    Attributes:
        source: what it is, in words.
        licence: of the data.
        rows: prompts.
        segments: prompts per segment.
        sha256: of the training file.
    """

    source: str
    licence: str
    rows: Count
    segments: dict[str, Count]
    sha256: Sha256


class NoveltyRule(Record, frozen=True):
    """How novelty is measured and how far it shrinks quality toward the prior; the arrays lie in reference.npz.

    Attributes:
        kind: of the measure (see sidecar.routing.novelty).
        shrinkage: parameters of the shrinkage curve, by name.
    """

    kind: str
    shrinkage: dict[str, float] = {}


class FileEntry(Record, frozen=True):
    """Digest and size in bytes of one file of the bundle."""

    sha256: Sha256
    size: Count


class Manifest(Record, frozen=True):
    """manifest.json. Every other file of the bundle is listed in `files`; anything else in the directory is refused."""

    format_version: Literal[1]
    name: Name
    version: Name
    family: Literal["static", "encoder"]
    created: str
    candidates: Annotated[tuple[TrainedCandidate, ...], msgspec.Meta(min_length=1, max_length=256)]
    tokenizer: TokenizerLimits
    text_recipe: TextRecipe
    training_data: TrainingData
    metrics: dict[str, float]
    novelty: NoveltyRule
    model_card: str
    golden_tolerance: Annotated[float, msgspec.Meta(gt=0.0, le=0.1)]
    files: dict[str, FileEntry] = {}
