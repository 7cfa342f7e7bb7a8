"""A tiny encoder of random weights, in the layout of transformers, and a router over it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from export.outcomes import Outcomes
from export.prices import Price

if TYPE_CHECKING:
    from export.encoder.train import EncoderOptions, TrainedEncoder

# Read when the library is imported; nothing here may ask the network.
os.environ["HF_HUB_OFFLINE"] = "1"

PRICES = (Price(0.1, 0.4), Price(5.0, 15.0))
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = (
    "simmer the onions butter oven recipe bake garlic stew flour kitchen pan boil season soup taste solve equation matrix"
    " polynomial root integer prove variable factor vector quadratic sum proof write verse rhyme moon meadow stanza lyric"
    " river dawn metre sonnet autumn whisper heart song number a an of is what and"
)


def make_base(directory: Path, **changes: Any) -> Path:
    """Two layers, 32 wide, random."""
    import torch  # noqa: PLC0415 - other environments collect this file too
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast  # noqa: PLC0415

    vocabulary = [*SPECIAL, *dict.fromkeys(WORDS.split()), *"0123456789abcdefghijklmnopqrstuvwxyz"]
    vocabulary += ["##" + letter for letter in "0123456789abcdefghijklmnopqrstuvwxyz"]
    library = Tokenizer(
        models.WordPiece({word: at for at, word in enumerate(dict.fromkeys(vocabulary))}, unk_token="[UNK]")  # noqa: S106
    )
    library.normalizer = normalizers.BertNormalizer()
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=library, **names).save_pretrained(directory)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=library.get_vocab_size(), max_position_embeddings=64, initializer_range=0.3, **{**sizes, **changes}
    )
    BertModel(config).save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def base_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT."""
    return make_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="session")
def options(base_directory: Path) -> "EncoderOptions":
    """Quick, over the tiny BERT."""
    from export.encoder.heads import HeadSettings  # noqa: PLC0415
    from export.encoder.train import EncoderOptions  # noqa: PLC0415

    heads = HeadSettings(hidden=16, steps=200, forget=0.1, dropout=0.1, rate=5e-3)
    return EncoderOptions(base=str(base_directory), members=2, folds=3, max_tokens=48, threads=1, heads=heads)


@pytest.fixture(scope="session")
def trained_encoder(outcomes: Outcomes, options: "EncoderOptions") -> "TrainedEncoder":
    """A router over the tiny BERT, all its precisions kept."""
    from dataclasses import replace  # noqa: PLC0415

    return replace(options, keep_fp32=True).train(outcomes, PRICES)
