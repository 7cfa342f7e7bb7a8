import threading
from pathlib import Path

import numpy as np
import pytest

from sidecar.bundle.load import load
from sidecar.errors import RouterError
from sidecar.scoring.overlap import OverlappingScorer
from sidecar.scoring.pace import Limits, Pace
from sidecar.scoring.runner import Runner
from sidecar.scoring.scorer import ScoreFault
from sidecar.types import Score
from tests.standin import PATIENCE_S, Devices

TEXTS = ["prove the theorem", "rice", "refactor the python function " * 8, "what is the capital"]


@pytest.fixture
def scorer(encoder_bundle: Path) -> OverlappingScorer:
    made = load(encoder_bundle).scorer
    assert isinstance(made, OverlappingScorer)
    return made


def assert_same(scorer: Score, other: Score, texts: list[str]) -> None:
    for got, wanted in zip(scorer(texts)[:3], other(texts)[:3], strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_an_encoder_scores_as_the_static_scorer_does_with_the_same_model(
    scorer: OverlappingScorer, tiny_bundle: Path
) -> None:
    static = load(tiny_bundle).scorer
    assert_same(scorer, static, TEXTS)
    for text in TEXTS:
        assert_same(scorer, static, [text])


def test_what_was_begun_is_finished_with_the_scores_of_its_own_texts(scorer: OverlappingScorer) -> None:
    pendings = [scorer.begin([text]) for text in TEXTS]
    for pending, text in zip(pendings, TEXTS, strict=True):
        np.testing.assert_allclose(scorer.finish(pending).quality, scorer([text]).quality, atol=1e-5)


def test_one_batch_is_tokenised_while_another_one_runs(encoder_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = Devices(monkeypatch)
    scorer = load(encoder_bundle, provider="auto").scorer
    assert isinstance(scorer, OverlappingScorer)
    device = devices.last
    device.blocked.clear()
    device.entered.clear()
    first = scorer.begin(["rice"])
    assert device.entered.wait(PATIENCE_S)
    second = scorer.begin(["prove the theorem"])  # the device waits for this one to be tokenised
    assert not first.done
    assert second.ticket.rows
    device.blocked.set()
    assert scorer.finish(first).quality.shape == scorer.finish(second).quality.shape == (1, 3)


def test_room_is_for_two_batches_and_comes_back_when_they_are_finished(encoder_bundle: Path) -> None:
    scorer = load(encoder_bundle, limits=Limits(4, 60.0)).scorer
    assert isinstance(scorer, OverlappingScorer)
    assert (scorer.most, scorer.room) == (4, 8)
    pendings = [scorer.begin(["rice"] * 4), scorer.begin(["rice"] * 3)]
    assert scorer.room == 1
    for pending in pendings:
        scorer.finish(pending)
    assert scorer.room == 8
    scorer(["rice"] * 30)
    assert scorer.room == 8


def test_a_score_that_is_not_finite_is_a_fault_of_its_own_batch_alone(scorer: OverlappingScorer) -> None:
    pendings = [scorer.begin([text]) for text in ("rice", "poison", "theorem")]
    scorer.finish(pendings[0])
    with pytest.raises(ScoreFault, match="not finite"):
        scorer.finish(pendings[1])
    scorer.finish(pendings[2])
    assert scorer.room == scorer.most * 2


def test_faults_of_tokenizer_and_model_do_not_quote_the_prompt(scorer: OverlappingScorer) -> None:
    def broken(*_: object) -> None:
        raise ValueError("secret prompt")

    pace = Pace(Limits())
    for faulty in (
        OverlappingScorer(broken, scorer.runner, scorer._novelty, pace),  # type: ignore[arg-type]  # does not return
        OverlappingScorer(scorer._tokenize, Runner(broken, pace), scorer._novelty, pace),  # type: ignore[arg-type]
    ):
        with pytest.raises(RouterError, match="ValueError") as caught:
            faulty(["secret prompt"])
        assert "secret" not in str(caught.value)


def test_any_thread_may_score(scorer: OverlappingScorer) -> None:
    found: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = []
    threads = [threading.Thread(target=lambda: found.append(scorer(TEXTS).quality)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    for quality in found:
        np.testing.assert_allclose(quality, found[0], atol=1e-5)
    assert len(found) == 4
