import gc
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.scoring.cache import ScoreCache
from sidecar.scoring.cache_ahead import ScoreCacheAhead, remembering
from sidecar.types import Scores
from tests.scoring.test_cache import AMPLE, BAD, CANDIDATES, Source, check, row_of


class Begun:
    """A batch of the device; wakes one listener only, as the real one does."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        self.done = False
        self._wakes: list[Callable[[], None]] = []

    def then(self, wake: Callable[[], None]) -> None:
        assert not self._wakes
        self._wakes.append(wake)

    def land(self) -> None:
        if not self.done:
            self.done = True
            self._wakes.pop()()


class Device:
    """Scores in two phases. Fails on BAD in the second one, on `worse` in the first."""

    most, room = 7, 5

    def __init__(self) -> None:
        self.scored: Counter[str] = Counter()
        self.begun: list[Begun] = []
        self.finished: set[Begun] = set()

    def __call__(self, texts: Sequence[str]) -> Scores:
        return self.finish(self.begin(texts))

    def begin(self, texts: Sequence[str]) -> Begun:
        if "worse" in texts:
            raise ValueError("worse")
        self.begun.append(Begun(list(texts)))
        return self.begun[-1]

    def finish(self, begun: Begun) -> Scores:
        assert begun not in self.finished
        self.finished.add(begun)
        begun.land()  # who does not wait for it before, waits here
        if BAD in begun.texts:
            raise ValueError(BAD)
        self.scored.update(begun.texts)
        table = np.array([row_of(text) for text in begun.texts])
        return Scores(table[:, :CANDIDATES], table[:, CANDIDATES:-1], table[:, -1], tokenize_s=1.0, score_s=2.0)


def cache_over(device: Device) -> ScoreCacheAhead:
    return ScoreCacheAhead(device, CANDIDATES, AMPLE)


batches = st.lists(st.tuples(st.lists(st.sampled_from([*"abcdefgh"]), min_size=1, max_size=6), st.integers(0, 9)))


@given(batches, st.integers(1, 3))
@settings(max_examples=200)
def test_what_a_batch_in_flight_is_scoring_is_not_scored_again(found: list[tuple[list[str], int]], depth: int) -> None:
    device = Device()
    cache = cache_over(device)
    flying: list[tuple[list[str], Any]] = []
    for batch, choice in found:
        if len(flying) == depth:
            texts, looked = flying.pop(choice % depth)  # in any order
            check(cache.finish(looked), texts)
        flying.append((batch, cache.begin(batch)))
    for texts, looked in flying:
        check(cache.finish(looked), texts)
    assert set(device.scored.values()) <= {1}
    assert cache.counts.hits + cache.counts.misses == sum(len(batch) for batch, _ in found)
    assert cache.counts.misses == len(device.scored)


@given(st.lists(st.tuples(st.lists(st.sampled_from([*"abcd", BAD]), min_size=1, max_size=3), st.integers(0, 9))),
       st.integers(1, 3))  # fmt: skip
@settings(max_examples=200)
def test_a_batch_that_fails_caches_nothing_and_spoils_no_other(found: list[tuple[list[str], int]], depth: int) -> None:
    device = Device()
    cache = cache_over(device)
    flying: list[tuple[list[str], Any]] = []

    def land(which: int) -> None:
        texts, looked = flying.pop(which)
        if BAD in texts:
            with pytest.raises(ValueError, match=BAD):
                cache.finish(looked)
        else:
            check(cache.finish(looked), texts)

    for batch, choice in found:
        if len(flying) == depth:
            land(choice % depth)
        flying.append((batch, cache.begin(batch)))
    while flying:
        land(0)
    assert BAD not in device.scored
    assert not cache._pending
    for text in "abcd":
        check(cache([text]), [text])


def test_a_begin_that_fails_leaves_nothing_in_flight() -> None:
    cache = cache_over(Device())
    with pytest.raises(ValueError, match="worse"):
        cache.begin(["a", "worse"])
    assert cache(["a"]).cached == (False,)


def test_it_is_done_when_its_own_texts_and_those_that_it_shares_are() -> None:
    device = Device()
    cache = cache_over(device)
    woken: list[str] = []
    first = cache.begin(["a"])
    second = cache.begin(["a", "b"])
    third = cache.begin(["a"])
    for name, looked in (("first", first), ("second", second), ("third", third)):
        looked.then(lambda name=name: woken.append(name))  # type: ignore[misc]
    assert (first.done, second.done, third.done, woken) == (False, False, False, [])
    device.begun[0].land()
    assert (first.done, second.done, third.done, sorted(woken)) == (True, False, True, ["first", "third"])
    device.begun[1].land()
    assert second.done
    assert woken[2:] == ["second"]
    first.then(lambda: woken.append("late"))
    assert woken[3:] == ["late"]
    assert [cache.finish(looked).cached for looked in (first, second, third)] == [(False,), (True, False), (True,)]


def test_what_is_known_needs_no_waiting() -> None:
    cache = cache_over(Device())
    cache(["a"])
    looked = cache.begin(["a", "a"])
    woken: list[bool] = []
    looked.then(lambda: woken.append(True))
    assert (looked.done, woken) == (True, [True])
    assert cache.finish(looked).cached == (True, True)


def test_batches_that_wait_for_each_other_are_not_kept_alive() -> None:
    cache = cache_over(Device())
    flying = [cache.begin(["0"])]
    first = weakref.ref(flying[0].lookup)
    for number in range(1, 4):
        flying.append(cache.begin([str(number), str(number - 1)]))  # wants what the batch before is having scored
        cache.finish(flying.pop(0))
    gc.collect()
    assert first() is None


def test_a_scorer_in_two_phases_gets_a_cache_in_two_phases_and_any_other_does_not() -> None:
    ahead = remembering(Device(), CANDIDATES, AMPLE)
    assert isinstance(ahead, ScoreCacheAhead)
    assert (ahead.most, ahead.room) == (7, 5)
    plain = remembering(Source(), CANDIDATES, AMPLE)
    assert type(plain) is ScoreCache
    assert not hasattr(plain, "begin")
