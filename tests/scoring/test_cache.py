from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.bundle.load import load
from sidecar.scoring.cache import ScoreCache, _keyed_hash
from sidecar.scoring.rows import WAYS, entry_bytes
from sidecar.types import Scores
from tests.conftest import GOLDEN_TEXTS

CANDIDATES = 3
BAD = "bad"
AMPLE = 1 << 16


def row_of(text: str) -> np.ndarray:
    return np.frombuffer(sha256(text.encode()).digest()[: 2 * CANDIDATES + 1], np.uint8).astype(np.float32) / 256


class Source:
    """Scores every text by its hash; fails on a batch with BAD in it."""

    def __init__(self) -> None:
        self.scored: Counter[str] = Counter()
        self.asked: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> Scores:
        self.asked.append(list(texts))
        if BAD in texts:
            raise ValueError(BAD)
        self.scored.update(texts)
        table = np.array([row_of(text) for text in texts])
        return Scores(table[:, :CANDIDATES], table[:, CANDIDATES:-1], table[:, -1], tokenize_s=1.0, score_s=2.0)


def cache_over(source: Source, max_bytes: int = AMPLE) -> ScoreCache:
    return ScoreCache(source, CANDIDATES, max_bytes, clock=lambda: 0.0)


def check(scores: Scores, texts: Sequence[str]) -> None:
    """The scores are those of a fresh run, to the last bit."""
    table = np.array([row_of(text) for text in texts])
    np.testing.assert_array_equal(scores.quality, table[:, :CANDIDATES])
    np.testing.assert_array_equal(scores.output_tokens, table[:, CANDIDATES:-1])
    np.testing.assert_array_equal(scores.novelty, table[:, -1])
    assert len(scores.cached) == len(texts)


batches = st.lists(st.lists(st.sampled_from([*"abcdefgh"]), min_size=1, max_size=6), max_size=20)


@given(batches)
def test_every_text_is_scored_once_and_all_get_what_a_fresh_run_says(found: list[list[str]]) -> None:
    source = Source()
    cache = cache_over(source)
    seen: set[str] = set()
    hits = 0
    for batch in found:
        scores = cache(batch)
        check(scores, batch)
        first = [text not in seen and text not in batch[:row] for row, text in enumerate(batch)]
        assert scores.cached == tuple(not new for new in first)
        hits += sum(scores.cached)
        seen |= set(batch)
    assert set(source.scored.values()) <= {1}
    assert cache.counts[:3] == (hits, len(seen), 0)


def test_after_a_fault_the_same_text_is_scored_anew() -> None:
    source = Source()
    cache = cache_over(source)
    for _ in range(2):
        with pytest.raises(ValueError, match=BAD):
            cache(["a", BAD])
    assert source.asked == [["a", BAD]] * 2
    assert cache(["a"]).cached == (False,)
    assert cache(["a"]).cached == (True,)
    assert cache.counts[:2] == (1, 1)


@given(st.integers(1, 3), st.lists(st.lists(st.integers(0, 60).map(str), min_size=1, max_size=6), max_size=60))
def test_a_small_one_stays_within_its_bytes_and_right(sets: int, found: list[list[str]]) -> None:
    source = Source()
    max_bytes = sets * (WAYS * entry_bytes(2 * CANDIDATES + 1) + 1)
    cache = cache_over(source, max_bytes)
    for batch in found:
        check(cache(batch), batch)
        counts = cache.counts
        assert counts.held_bytes <= max_bytes
        assert counts.evictions + counts.held_bytes // entry_bytes(2 * CANDIDATES + 1) == counts.misses


def test_what_is_known_costs_neither_tokenizer_nor_model_and_what_is_not_keeps_its_times() -> None:
    ticks = iter(range(100))
    cache = ScoreCache(Source(), CANDIDATES, AMPLE, clock=lambda: float(next(ticks)))
    miss, hit, mixed = cache(["a"]), cache(["a"]), cache(["a", "b"])
    # Each reading of the clock is a second after the one before: looking up takes one.
    assert (miss.tokenize_s, miss.score_s) == (2.0, 2.0)
    assert (hit.tokenize_s, hit.score_s) == (1.0, 0.0)
    assert (mixed.tokenize_s, mixed.score_s, mixed.cached) == (2.0, 2.0, (True, False))


def test_cleared_it_knows_nothing_and_counts_from_zero() -> None:
    source = Source()
    cache = cache_over(source)
    cache(["a"])
    cache(["a"])
    cache.clear()
    assert cache.counts == (0, 0, 0, 0)
    assert cache(["a"]).cached == (False,)
    assert source.scored["a"] == 2


def test_no_two_caches_hash_alike_and_none_keeps_a_text() -> None:
    one, two = _keyed_hash(), _keyed_hash()
    assert one("a prompt") != two("a prompt")
    assert one("a prompt") == one("a prompt")
    assert len({one(text) for text in ("", "a", "b", "ab", "a b")}) == 5
    cache = cache_over(Source())
    secret = "the prompt of somebody"  # noqa: S105 - no password
    cache([secret])
    cache(["another"])
    assert secret.encode() not in bytes(cache._rows._keys)
    assert not any(secret in str(value) for value in vars(cache).values())


def test_over_a_real_bundle_a_hit_is_the_row_that_the_model_gave(tiny_bundle: Path) -> None:
    bundle = load(tiny_bundle)
    cache = ScoreCache(bundle.scorer, len(bundle.manifest.candidates), AMPLE)
    texts = list(GOLDEN_TEXTS)
    fresh = bundle.scorer(texts)
    for scores in (cache(texts), cache(texts)):
        for got, wanted in zip(scores[:3], fresh[:3], strict=True):
            np.testing.assert_array_equal(got, wanted)
    assert scores.cached == (True,) * len(texts)
    assert fresh.cached == ()
    # In another order, and one at a time.
    for row in (2, 0, 3, 1):
        np.testing.assert_array_equal(cache([texts[row]]).quality[0], fresh.quality[row])
