"""Scores of texts that were scored before, by the same bundle.

Traffic repeats itself, and a look-up takes a few microseconds where tokenizer and model take fifty. Only what the bundle
says of a text is remembered; policy, constraints and whatever else a decision depends on are applied afresh.

Texts are known by a keyed 128-bit BLAKE2b hash, so the cache holds no prompt. Its key is drawn at random for each cache
and never leaves it: two texts of one hash cannot be searched for outside, and inside they would take 2^64 requests.
"""

import secrets
from collections.abc import Callable, Sequence
from hashlib import blake2b
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from sidecar.scoring.rows import KEY_BYTES, Rows
from sidecar.types import Floats, Score, Scores

Hash = Callable[[str], bytes]


class CacheCounts(NamedTuple):
    """What score caches were good for.

    Attributes:
        hits: requests whose scores were there, or were just being made for another request.
        misses: requests for which the model ran.
        evictions: entries that had to make room.
        held_bytes: of the entries.
    """

    hits: int = 0
    misses: int = 0
    evictions: int = 0
    held_bytes: int = 0


class Lookup:
    """A batch whose known texts are found, and whose unknown ones are being scored.

    Attributes:
        size: B requests.
        known: which of them the cache knew.
        found: [H, W] their rows; None if there are none.
        keys: of the U texts that are scored for this batch.
        asked: the requests that want these.
        places: which of the U each of them wants.
        joined: requests whose text another batch is having scored: (request, its text, that batch, which of its U).
        begun: what the scorer makes of the U texts; None if there are none.
        ended: whether the scorer has answered, or there is nothing to ask.
        fresh: its answer.
        made: [U, W] the same as rows.
        error: why it has none.
        lookup_s: seconds that looking up took.
    """

    __slots__ = (
        "__weakref__", "asked", "begun", "ended", "error", "found", "fresh", "joined", "keys", "known", "lookup_s",
        "made", "places", "size",
    )  # fmt: skip

    def __init__(self, size: int) -> None:
        self.size = size
        self.known: list[int] = []
        self.found: Floats | None = None
        self.keys: dict[bytes, int] = {}
        self.asked: list[int] = []
        self.places: list[int] = []
        self.joined: list[tuple[int, str, Lookup, int]] = []
        self.begun: Any = None
        self.ended = True
        self.fresh: Scores | None = None
        self.made: Floats | None = None
        self.error: Exception | None = None
        self.lookup_s = 0.0


class ScoreCache:
    """A Score that asks another one only for what it does not know. For one thread.

    Args:
        score: scores what is not known.
        candidates: C, columns of the scores.
        max_bytes: of the table.
        dimensions: of the embeddings that are kept too; 0 keeps none.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        score: Score,
        candidates: int,
        max_bytes: int,
        dimensions: int = 0,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        # What begins to score texts, and what ends it: here all is done at the end.
        self._start: Callable[[Sequence[str]], Any] = lambda texts: texts
        self._end: Callable[[Any], Scores] = score
        self._candidates = candidates
        self._width = 2 * candidates + 1 + dimensions
        self._rows = Rows(self._width, max_bytes)
        self._hash = _keyed_hash()
        self._clock = clock
        # Texts that are being scored: their batch, and which of its texts.
        self._pending: dict[bytes, tuple[Lookup, int]] = {}
        self._hits = self._misses = 0

    def __call__(self, texts: Sequence[str]) -> Scores:
        """Scores B windows; raises what the scorer raises."""
        # With nothing in flight that it could share, a request alone needs no account of who waits for what.
        if len(texts) == 1 and not self._pending:
            return self._alone(texts)
        return self._finish(self._begin(texts))

    def _alone(self, texts: Sequence[str]) -> Scores:
        began = self._clock()
        key = self._hash(texts[0])
        slot = self._rows.find(key)
        if slot >= 0:
            self._hits += 1
            return self._scores(self._rows.take([slot]), self._clock() - began, 0.0, (True,))
        lookup_s = self._clock() - began
        fresh = self._end(self._start(texts))
        self._rows.put_one(key, self._parts_of(fresh))
        self._misses += 1
        quality, output_tokens, novelty, tokenize_s, score_s, _, embedding = fresh
        return Scores(quality, output_tokens, novelty, tokenize_s + lookup_s, score_s, (False,), embedding)

    @property
    def counts(self) -> CacheCounts:
        """Since the start, or since they were cleared. From any thread."""
        return CacheCounts(self._hits, self._misses, self._rows.evicted, self._rows.nbytes)

    def clear(self) -> None:
        """Forgets all scores and counts. Between batches: nothing may be begun and not finished."""
        self._pending.clear()
        self._rows.clear()
        self._hits = self._misses = 0

    def _begin(self, texts: Sequence[str]) -> Lookup:
        began = self._clock()
        lookup = Lookup(len(texts))
        missing = self._find(texts, lookup)
        lookup.lookup_s = self._clock() - began
        if missing:
            lookup.begun = self._start(missing)
            lookup.ended = False
            for key, place in lookup.keys.items():
                self._pending[key] = (lookup, place)
        return lookup

    def _finish(self, lookup: Lookup) -> Scores:
        size, found = lookup.size, lookup.found
        if found is not None and len(lookup.known) == size:
            self._hits += size
            return self._scores(found, lookup.lookup_s, 0.0, (True,) * size)
        self._answer(lookup)
        if lookup.error is not None:
            error, lookup.error = lookup.error, None
            try:
                raise error
            finally:
                del error  # else it and this frame would keep each other alive, and with them the bundle
        if lookup.fresh is not None and len(lookup.keys) == size:
            self._misses += size
            fresh = lookup.fresh
            return fresh._replace(tokenize_s=fresh.tokenize_s + lookup.lookup_s, cached=(False,) * size)
        scores = self._combined(lookup)
        misses = scores.cached.count(False)
        self._misses += misses
        self._hits += size - misses
        return scores

    def _find(self, texts: Sequence[str], lookup: Lookup) -> list[str]:
        """Sorts the requests of a batch by where their scores come from; gives the texts that must be scored."""
        digest, find, pending, keys = self._hash, self._rows.find, self._pending, lookup.keys
        slots: list[int] = []
        missing: list[str] = []
        for row, text in enumerate(texts):
            key = digest(text)
            slot = find(key)
            if slot >= 0:
                lookup.known.append(row)
                slots.append(slot)
            elif key in pending:
                lookup.joined.append((row, text, *pending[key]))
            else:
                place = keys.setdefault(key, len(missing))
                if place == len(missing):
                    missing.append(text)
                lookup.asked.append(row)
                lookup.places.append(place)
        if slots:
            lookup.found = self._rows.take(slots)
        return missing

    def _answer(self, lookup: Lookup) -> None:
        """Has the scorer answer, unless it has; what it says goes into the table, a fault leaves nothing there."""
        if lookup.ended:
            return
        lookup.ended = True
        for key in lookup.keys:
            del self._pending[key]
        try:
            fresh = lookup.fresh = self._end(lookup.begun)
            lookup.made = self._rows_of(fresh)
        except Exception as error:  # noqa: BLE001 - whoever finishes the batch gets it
            lookup.error = error
        else:
            self._rows.put(list(lookup.keys), lookup.made)
        lookup.begun = None

    def _combined(self, lookup: Lookup) -> Scores:
        """Puts a batch together that comes from several sides."""
        cached = [True] * lookup.size
        table = np.empty((lookup.size, self._width), np.float32)
        tokenize_s, score_s = lookup.lookup_s, 0.0
        if lookup.found is not None:
            table[lookup.known] = lookup.found
        if lookup.fresh is not None and lookup.made is not None:
            tokenize_s, score_s = tokenize_s + lookup.fresh.tokenize_s, lookup.fresh.score_s
            table[lookup.asked] = lookup.made[lookup.places]
            scored = dict(zip(reversed(lookup.places), reversed(lookup.asked), strict=True))
            for row in scored.values():  # the first of those that want the same
                cached[row] = False
        joined, lookup.joined = lookup.joined, []  # else each batch would keep the one before alive
        for row, text, other, place in joined:
            self._answer(other)
            if other.made is not None:
                table[row] = other.made[place]
                continue
            again = self._end(self._start([text]))  # the other batch failed, perhaps not for this text
            table[row] = self._rows_of(again)[0]
            tokenize_s, score_s = tokenize_s + again.tokenize_s, score_s + again.score_s
            cached[row] = False
        return self._scores(table, tokenize_s, score_s, tuple(cached))

    def _scores(self, table: Floats, tokenize_s: float, score_s: float, cached: tuple[bool, ...]) -> Scores:
        count = self._candidates
        quality, output_tokens, novelty = table[:, :count], table[:, count : 2 * count], table[:, 2 * count]
        embedding = table[:, 2 * count + 1 :] if self._width > 2 * count + 1 else None
        return Scores(quality, output_tokens, novelty, tokenize_s, score_s, cached, embedding)

    def _rows_of(self, scores: Scores) -> Floats:
        return np.concatenate(self._parts_of(scores), axis=1)

    def _parts_of(self, scores: Scores) -> list[Floats]:
        parts = [scores.quality, scores.output_tokens, scores.novelty[:, None]]
        if self._width > 2 * self._candidates + 1 and scores.embedding is not None:
            parts.append(scores.embedding)
        return parts


def _keyed_hash() -> Hash:
    begun = blake2b(digest_size=KEY_BYTES, key=secrets.token_bytes(32))

    def digest(text: str) -> bytes:
        state = begun.copy()  # the key is mixed in once: a fifth cheaper
        state.update(text.encode())
        return state.digest()

    return digest
