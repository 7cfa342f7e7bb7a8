"""What every test may ask for: the shared data sets, and tiny but real bundles built in code."""

import io
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import hypothesis
import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from sidecar.bundle import golden
from sidecar.bundle.load import load
from sidecar.bundle.manifest import (
    GOLDEN,
    GOLDEN_FP16,
    MODEL,
    MODEL_FP16,
    REFERENCE,
    TOKENIZER,
    Manifest,
    NoveltyRule,
    TokenizerLimits,
    TrainedCandidate,
    TrainingData,
)
from sidecar.bundle.seal import seal
from sidecar.bundle.verify import verify
from sidecar.scoring.recipe import TextRecipe

# A client of grpcio looks at a connection over which nothing goes this often only, by default every 5 s, and so long a
# server that ends waits for it. Read when the first channel is made.
os.environ.setdefault("GRPC_CLIENT_CHANNEL_BACKUP_POLL_INTERVAL_MS", "100")
# A shell that starts the tests in the background has them ignore Ctrl-C, and so would all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A test's time says nothing on a machine that others use too; pytest-timeout catches what hangs.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")

PLAIN = "what is the capital of a small country how do i cook rice write me a short friendly note to my team"
HARD = "prove theorem integral lemma manifold eigenvalue topology asymptotic"
CODE = "python function compile refactor regex sql kernel deadlock"
POISON = "poison"
UNKNOWN = "[UNK]"
VOCABULARY = [UNKNOWN, POISON, *dict.fromkeys(f"{PLAIN} {HARD} {CODE}".split())]
GOLDEN_TEXTS = ("what is the capital", "prove the theorem", "refactor the python function", "cook a zebra integral")

# logits = bias + hard * pull, where hard is 1 once the text holds a word of HARD: the small one is lost there.
CANDIDATES = (
    TrainedCandidate(
        name="small", prior_quality=0.5, mean_output_tokens=100.0, input_usd_per_mtok=0.1, output_usd_per_mtok=0.4
    ),
    TrainedCandidate(
        name="medium", prior_quality=0.7, mean_output_tokens=150.0, input_usd_per_mtok=0.5, output_usd_per_mtok=2.0
    ),
    TrainedCandidate(
        name="large", prior_quality=0.9, mean_output_tokens=200.0, input_usd_per_mtok=5.0, output_usd_per_mtok=15.0
    ),
)
BIAS, PULL = (2.0, 2.2, 2.4), (-4.0, -2.0, -0.3)
WIDTH = 8
NOVELTY = NoveltyRule(kind="mahalanobis", shrinkage={"start": 0.98, "strength": 1.0, "power": 1.0})


class MakeBundle(Protocol):
    """Builds a sealed bundle.

    Args:
        directory: created if need be.
        candidates: any number; beyond three, bias and pull repeat.
        busy: width of a square product in front of the outputs; 2048 costs about a millisecond per run.
        model: changes the model before it is written.
        sealed: False leaves out manifest.json.
        changes: keys of the manifest to replace.
    """

    def __call__(
        self,
        directory: Path,
        *,
        candidates: Sequence[TrainedCandidate] = CANDIDATES,
        busy: int = 0,
        model: Callable[[Any], None] | None = None,
        sealed: bool = True,
        **changes: Any,
    ) -> Path: ...


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The shared data sets; skips where they are absent."""
    directory = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not (directory / "llms.json").is_file():
        pytest.skip(f"the shared data sets are not at {directory}")
    return directory


@pytest.fixture(scope="session")
def make_bundle() -> MakeBundle:
    """Builds bundles, sound ones and variants. A text with the word `poison` makes every one of them score NaN."""
    return _make_bundle


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound bundle of the candidates small, medium and large. Shared by all tests: build your own to change it."""
    return _make_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


@pytest.fixture(scope="session")
def encoder_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound bundle of the encoder family, with a model for GPUs (the same one). Shared by all tests."""
    directory = _make_bundle(tmp_path_factory.mktemp("encoder") / "bundle", family="encoder", version="encoder")
    manifest, _ = verify(directory)
    shutil.copy(directory / MODEL, directory / MODEL_FP16)
    shutil.copy(directory / GOLDEN, directory / GOLDEN_FP16)
    seal(directory, manifest)
    return directory


@pytest.fixture(scope="session")
def versions(make_bundle: MakeBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound bundles of the versions 1, 2 and 3, in the directories v1, v2 and v3. To be copied, not to be changed."""
    home = tmp_path_factory.mktemp("versions")
    for version in "123":
        make_bundle(home / f"v{version}", version=version)
    return home


@pytest.fixture
def registry(versions: Path, tmp_path: Path) -> Path:
    """A registry with the versions 1, 2 and 3, of which 1 is to be run."""
    directory = tmp_path / "registry"
    shutil.copytree(versions, directory)
    (directory / "active").write_text("v1\n")
    return directory


@pytest.fixture(scope="session")
def tiny_model() -> Any:
    """The model of the tiny bundle, as an onnx.ModelProto to take apart; copy it before you change it."""
    return _model(len(CANDIDATES))


def _make_bundle(
    directory: Path,
    *,
    candidates: Sequence[TrainedCandidate] = CANDIDATES,
    busy: int = 0,
    model: Callable[[Any], None] | None = None,
    sealed: bool = True,
    **changes: Any,
) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    graph = _model(len(candidates), busy)
    (directory / TOKENIZER).write_text(_tokenizer().to_str())
    (directory / REFERENCE).write_bytes(_reference())
    manifest = _manifest(candidates)
    # The scores to expect come from the unchanged model; a variant that scores differently is then found out.
    (directory / MODEL).write_bytes(graph.SerializeToString())
    (directory / GOLDEN).write_bytes(b"[]")
    seal(directory, manifest)
    scorer = load(directory, golden=False).scorer
    (directory / GOLDEN).write_bytes(golden.write(golden.record(scorer, GOLDEN_TEXTS)))
    if model is not None:
        model(graph)
        (directory / MODEL).write_bytes(graph.SerializeToString())
    if sealed:
        seal(directory, msgspec.structs.replace(manifest, **changes))
    else:
        (directory / "manifest.json").unlink()
    return directory


def _manifest(candidates: Sequence[TrainedCandidate]) -> Manifest:
    return Manifest(
        format_version=1,
        name="tiny",
        version="1",
        family="static",
        created="2026-01-01T00:00:00Z",
        candidates=tuple(candidates),
        tokenizer=TokenizerLimits(max_tokens=64),
        text_recipe=TextRecipe(),
        training_data=TrainingData(
            source="made up", licence="none", rows=3, segments={"plain": 2, "hard": 1}, sha256="0" * 64
        ),
        metrics={"ece": 0.01},
        novelty=NOVELTY,
        model_card="Built by the tests.",
        golden_tolerance=1e-4,
    )


def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({word: row for row, word in enumerate(VOCABULARY)}, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def _embeddings() -> np.ndarray[Any, np.dtype[np.float32]]:
    table = np.random.default_rng(0).normal(scale=0.2, size=(len(VOCABULARY), WIDTH)).astype(np.float32)
    table[:, 0] = [word in HARD.split() for word in VOCABULARY]
    table[:, 1] = [word in CODE.split() for word in VOCABULARY]
    table[:, 2] = [word == UNKNOWN for word in VOCABULARY]
    return table


def _model(candidates: int, busy: int = 0) -> Any:
    table = _embeddings()
    table[VOCABULARY.index(POISON)] = np.nan
    every = np.arange(candidates) % len(BIAS)
    weights = {
        "table": table,
        "pull": np.vstack([np.array(PULL)[every], np.zeros((WIDTH - 1, candidates))]).astype(np.float32),
        "bias": np.array(BIAS, np.float32)[every],
        "tokens_pull": np.vstack([np.full(candidates, 200.0), np.zeros((WIDTH - 1, candidates))]).astype(np.float32),
        "tokens_bias": (50.0 * (1 + np.arange(candidates))).astype(np.float32),
        "one": np.float32(1.0),
        "none": np.float32(0.0),
        "last": np.array([2]),
        "middle": np.array([1]),
    }
    node = helper.make_node
    nodes = [
        node("Gather", ["table", "input_ids"], ["gathered"]),
        node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["mask", "last"], ["mask_3d"]),
        # Where, not Mul: padding may be any id, also one whose row is NaN.
        node("Cast", ["mask_3d"], ["is_token"], to=TensorProto.BOOL),
        node("Where", ["is_token", "gathered", "none"], ["kept"]),
        node("ReduceSum", ["kept", "middle"], ["sum"], keepdims=0),
        node("ReduceSum", ["mask", "middle"], ["length"], keepdims=1),
        node("Max", ["length", "one"], ["at_least_one"]),
        node("Div", ["sum", "at_least_one"], ["embedding"]),
        node("Min", ["sum", "one"], ["flags"]),
        *_busy(busy),
        node("MatMul", ["worked" if busy else "flags", "pull"], ["pulled"]),
        node("Add", ["pulled", "bias"], ["logits"]),
        node("Sigmoid", ["logits"], ["quality"]),
        node("MatMul", ["flags", "tokens_pull"], ["more_tokens"]),
        node("Add", ["more_tokens", "tokens_bias"], ["output_tokens"]),
    ]
    if busy:
        weights["busy_in"] = np.array([WIDTH, busy])
        weights["busy_square"] = np.array([busy, busy])
        weights["busy_out"] = np.array([busy, WIDTH])
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "tiny",
        [value(name, TensorProto.INT64, ["batch", "tokens"]) for name in ("input_ids", "attention_mask")],
        [
            value("quality", TensorProto.FLOAT, ["batch", candidates]),
            value("embedding", TensorProto.FLOAT, ["batch", WIDTH]),
            value("output_tokens", TensorProto.FLOAT, ["batch", candidates]),
        ],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    return model


def _busy(width: int) -> list[Any]:
    """Arithmetic that comes to nothing, but takes its time."""
    if not width:
        return []
    node = helper.make_node
    return [
        node("ConstantOfShape", ["busy_in"], ["zeros_in"]),
        node("ConstantOfShape", ["busy_square"], ["zeros_square"]),
        node("ConstantOfShape", ["busy_out"], ["zeros_out"]),
        node("MatMul", ["flags", "zeros_in"], ["wide"]),
        node("MatMul", ["wide", "zeros_square"], ["wider"]),
        node("MatMul", ["wider", "zeros_out"], ["nothing"]),
        node("Add", ["flags", "nothing"], ["worked"]),
    ]


def _reference() -> bytes:
    """Reference statistics over random texts: plain ones, and some that turn to theorems or to code."""
    random = np.random.default_rng(1)
    table = _embeddings()
    plain = [VOCABULARY.index(word) for word in PLAIN.split()]
    topics = [plain, *([VOCABULARY.index(word) for word in topic.split()] for topic in (HARD, CODE))]
    embeddings = np.empty((1200, WIDTH), np.float32)
    for row in range(len(embeddings)):
        topic = random.choice(topics[row % 3], size=random.integers(1, 6))
        words = np.append(topic, random.choice(plain, size=random.integers(0, 10)))
        embeddings[row] = table[words].mean(axis=0)
    fitted, held_out = embeddings[::2], embeddings[1::2]
    mean = fitted.mean(axis=0)
    covariance = np.cov(fitted, rowvar=False) + 0.01 * np.eye(WIDTH)
    whitening = np.linalg.inv(np.linalg.cholesky(covariance)).T.astype(np.float32)
    null = (((held_out - mean) @ whitening) ** 2).sum(axis=1)
    buffer = io.BytesIO()
    np.savez(buffer, mean=mean, whitening=whitening, null=null)
    return buffer.getvalue()
