import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest

from sidecar.bundle import trial_program
from sidecar.bundle.manifest import GOLDEN, MANIFEST, MODEL, REFERENCE, TOKENIZER
from sidecar.bundle.trial import Line, TrialRequest
from sidecar.bundle.trial_program import conclude, microseconds_per_text
from sidecar.config import Config
from sidecar.errors import BundleError, RouterError
from sidecar.routing.recorded import Recorded
from sidecar.types import Scores
from tests.routing.fleet import scores_of


class Texts:
    """Scores anything, and remembers the sizes of its batches."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, texts: Sequence[str]) -> Scores:
        self.batches.append(len(texts))
        return scores_of([[0.5]] * len(texts))


def concluded(
    directory: Path, monkeypatch: pytest.MonkeyPatch, error: Exception | None = None
) -> tuple[Line, list[Line]]:
    said: list[Line] = []

    def fail(*_: object, **__: object) -> None:
        assert error is not None
        raise error

    if error is not None:
        monkeypatch.setattr(trial_program, "load", fail)
    recorded = Recorded(text="what is", segment="", policy="p", answer_value_usd=0.01, prompt_tokens=1)
    request = TrialRequest(config=Config(), directory=str(directory), running=str(directory), sample=(recorded,))
    return conclude(request, said.append), said


def test_every_stage_is_said_before_it_begins(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line, said = concluded(tiny_bundle, monkeypatch)
    assert line.report is not None
    checks = [MANIFEST, TOKENIZER, REFERENCE, MODEL, GOLDEN]
    assert [each.stage for each in said] == [*checks, "candidates", "timing", "comparison"]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (BundleError("model.onnx: no"), Line(refused="model.onnx: no")),
        (RouterError("scoring failed"), Line(refused="scoring failed")),
        (ValueError("the secret prompt"), Line(refused="trial: failed with ValueError")),
        (MemoryError(), Line(out_of_memory=True)),
        (RuntimeError("std::bad_alloc"), Line(out_of_memory=True)),
    ],
)
def test_whatever_is_raised_is_a_reason(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, line: Line
) -> None:
    assert concluded(tiny_bundle, monkeypatch, error)[0] == line


def test_want_of_memory_is_found_behind_our_own_error(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = BundleError("model.onnx: fails")
    error.__cause__ = RuntimeError("Failed to allocate memory for requested buffer of size 9")
    assert concluded(tiny_bundle, monkeypatch, error)[0].out_of_memory


def test_texts_are_timed_in_batches_and_the_median_counts() -> None:
    score = Texts()
    # The clock: the beginning; then per round begin, end, and a look at the time that has passed.
    rounds = [(0.0, 0.08), (0.08, 0.09), (0.09, 0.13)]
    ticks = itertools.chain([0.0], *((began, ended, ended) for began, ended in rounds[:2]), rounds[2], [1.0])
    assert microseconds_per_text(score, ["x"] * 40, lambda: next(ticks)) == pytest.approx(0.04 / 40 * 1e6)
    assert score.batches == [32, 8] * 3


def test_a_slow_model_is_timed_once() -> None:
    score = Texts()
    ticks = itertools.count(step=10)
    assert microseconds_per_text(score, ["x"] * 10, lambda: float(next(ticks))) == pytest.approx(1e6)
    assert score.batches == [10]
