"""Small made-up outcomes: cooking is easy for all, algebra only for the large candidate, poems have a third kind."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export.bundle import Label, write_bundle
from export.network import Settings
from export.outcomes import Outcomes, read_outcomes
from export.prices import Price
from export.train import Options, Trained, train

TOPICS = {
    "cooking": "simmer the onions butter oven recipe bake garlic stew flour kitchen pan boil season soup taste",
    "algebra": "solve the equation matrix polynomial root integer prove variable factor vector quadratic sum proof",
    "poems": "write the verse rhyme moon meadow stanza lyric river dawn metre sonnet autumn whisper heart song",
}
CHANCES = {
    "small": {"cooking": 0.9, "algebra": 0.15, "poems": 0.5},
    "large": {"cooking": 0.9, "algebra": 0.85, "poems": 0.6},
}
PRICES = (Price(0.1, 0.4), Price(5.0, 15.0))
OPTIONS = Options(members=1, folds=3, dimensions=16, max_tokens=64, workers=1, network=Settings(hidden=12, steps=120))
LABEL = Label("tiny", "1", "made up", "none", "Only for tests.")

Columns = dict[str, Any]
WriteParquet = Callable[..., Path]


def make_columns(rows: int = 240, seed: int = 0, missing: float = 0.2) -> Columns:
    """Columns of a training file with `missing` of the small candidate's labels left out."""
    rng = np.random.default_rng(seed)
    names = list(TOPICS)
    segments = [names[i] for i in rng.integers(len(names), size=rows)]
    prompts = [f"{' '.join(rng.choice(TOPICS[s].split(), size=12))} number {i}" for i, s in enumerate(segments)]
    columns: Columns = {
        "prompt": prompts,
        "segment": segments,
        "source": [f"{s}-{i % 2}" for i, s in enumerate(segments)],
        "group_id": [f"g{i}" for i in range(rows)],
        "prompt_tokens": [20] * rows,
    }
    for name, chances in CHANCES.items():
        quality = [float(rng.random() < chances[s]) for s in segments]
        left_out = rng.random(rows) < (missing if name == "small" else 0.0)
        columns[f"q:{name}"] = [None if gone else q for gone, q in zip(left_out, quality, strict=True)]
        columns[f"out_tokens:{name}"] = [100 + 50 * (s == "algebra") for s in segments]
    return columns


@pytest.fixture
def columns() -> Columns:
    return make_columns()


@pytest.fixture
def write_parquet(tmp_path: Path) -> WriteParquet:
    """Writes columns to a Parquet file."""

    def write(columns: Columns, name: str = "outcomes.parquet") -> Path:
        path = tmp_path / name
        pq.write_table(pa.table(columns), path)
        return path

    return write


@pytest.fixture
def llms_file(tmp_path: Path) -> Path:
    path = tmp_path / "llms.json"
    names = zip(CHANCES, PRICES, strict=True)
    llms = {name: {"input_per_mtok": price[0], "output_per_mtok": price[1]} for name, price in names}
    path.write_text(json.dumps({"llms": llms}), encoding="utf-8")
    return path


def _read(directory: Path, columns: Columns) -> Outcomes:
    path = directory / "outcomes.parquet"
    pq.write_table(pa.table(columns), path)
    return read_outcomes(path)


@pytest.fixture(scope="session")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """240 made-up rows."""
    return _read(tmp_path_factory.mktemp("outcomes"), make_columns())


@pytest.fixture(scope="session")
def fresh_outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """Made-up rows that no router was trained on."""
    return _read(tmp_path_factory.mktemp("fresh"), make_columns(rows=300, seed=1, missing=0.0))


@pytest.fixture(scope="session")
def trained(outcomes: Outcomes) -> Trained:
    """A router trained on `outcomes`."""
    return train(outcomes, OPTIONS)


@pytest.fixture(scope="session")
def bundle_directory(tmp_path_factory: pytest.TempPathFactory, trained: Trained, outcomes: Outcomes) -> Path:
    """The sealed bundle of `trained`."""
    directory = tmp_path_factory.mktemp("export") / "bundle"
    write_bundle(directory, trained, outcomes, PRICES, OPTIONS, LABEL)
    return directory
