from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.bundle.load import load
from sidecar.scoring import padding
from sidecar.scoring.scorer import ScoreFault, Scorer
from sidecar.types import Floats, Scores

WORDS = ["what", "is", "the", "capital", "prove", "theorem", "python", "deadlock", "zebra", "rice"]
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=80).map(" ".join), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def scorer(tiny_bundle: Path) -> Scorer:
    return static_scorer(tiny_bundle)


def static_scorer(directory: Path) -> Scorer:
    scorer = load(directory).scorer
    assert isinstance(scorer, Scorer)
    return scorer


def together(parts: Sequence[Scores]) -> tuple[Floats, Floats, Floats]:
    return (
        np.concatenate([part.quality for part in parts]),
        np.concatenate([part.output_tokens for part in parts]),
        np.concatenate([part.novelty for part in parts]),
    )


def assert_same(one: Sequence[Floats], other: Sequence[Floats]) -> None:
    for left, right in zip(one, other, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-4)


def test_scores_have_the_shapes_of_the_batch_and_say_where_the_time_went(scorer: Scorer) -> None:
    scores = scorer(["prove the theorem", "rice"])
    assert (scores.quality.shape, scores.output_tokens.shape, scores.novelty.shape) == ((2, 3), (2, 3), (2,))
    assert scores.tokenize_s > 0
    assert scores.score_s > 0


def test_qualities_follow_the_text(scorer: Scorer) -> None:
    hard, easy = scorer(["prove the theorem", "what is the capital"]).quality
    assert easy[0] - hard[0] > 0.5
    assert hard[0] < hard[1] < hard[2]


@settings(max_examples=150)
@given(texts=TEXTS, data=st.data())
def test_any_split_and_order_gives_the_scores_of_one_by_one(
    scorer: Scorer, texts: list[str], data: st.DataObject
) -> None:
    alone = together([scorer([text]) for text in texts])
    order = data.draw(st.permutations(range(len(texts))))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(texts)), max_size=3)) | {len(texts)})
    parts, start = [], 0
    for end in cuts:
        parts.append(scorer([texts[row] for row in order[start:end]]))
        start = end
    back = np.argsort(order)
    assert_same([values[back] for values in together(parts)], alone)


def test_a_batch_of_mixed_lengths_is_run_in_two_parts_with_the_same_scores(scorer: Scorer) -> None:
    texts = ["rice", *(["prove the theorem " * 30] * 2), *(["what is the capital", "python deadlock"] * 12)]
    _, mask = scorer._tokenizer(texts)
    assert padding.split(mask) is not None
    assert_same(together([scorer(texts)]), together([scorer([text]) for text in texts]))


def test_threads_get_the_scores_of_their_own_texts(scorer: Scorer) -> None:
    batches = [[WORDS[row % 10], f"{WORDS[row % 7]} {WORDS[row % 3]}"][: 1 + row % 2] for row in range(300)]
    expected = [scorer(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for got, wanted in zip(pool.map(scorer, batches), expected, strict=True):
            assert_same(together([got]), together([wanted]))


def test_quality_is_what_novelty_leaves_of_it(tiny_bundle: Path) -> None:
    class Halved:
        def weigh(self, quality: Floats, embedding: Floats, /) -> tuple[Floats, Floats]:
            return np.full(len(embedding), 0.5, np.float32), quality * np.float32(0.5)

    whole = static_scorer(tiny_bundle)
    halved = Scorer(whole._tokenizer, whole._session, Halved())
    raw = whole._session(*whole._tokenizer(["rice"]))[0]
    np.testing.assert_allclose(halved(["rice"]).quality, raw / 2)


def test_a_score_that_is_not_finite_is_a_fault(scorer: Scorer) -> None:
    with pytest.raises(ScoreFault, match="not finite"):
        scorer(["rice", "poison", "theorem"])
    assert np.isfinite(scorer(["rice", "theorem"]).quality).all()


@pytest.mark.parametrize("output", [0, 2])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_infinity_gets_through(scorer: Scorer, output: int, value: float) -> None:
    def infer(*inputs: Any) -> Any:
        outputs = [array.copy() for array in scorer._session(*inputs)]
        outputs[output][-1, 1] = value
        return tuple(outputs)

    class Nothing:
        def weigh(self, quality: Floats, embedding: Floats, /) -> tuple[Floats, Floats]:
            return np.zeros(len(embedding), np.float32), quality

    broken = Scorer(scorer._tokenizer, infer, Nothing())
    with pytest.raises(ScoreFault, match="not finite"):
        broken(["rice", "theorem"])


def test_a_fault_names_its_origin_and_not_the_prompt(scorer: Scorer) -> None:
    def infer(*inputs: Any) -> Any:
        raise ValueError("secret prompt")

    with pytest.raises(ScoreFault, match="ValueError") as caught:
        Scorer(scorer._tokenizer, infer, scorer._novelty)(["secret prompt"])
    assert "secret" not in str(caught.value)
    assert caught.value.status == "INTERNAL"
