import tracemalloc
from collections import deque
from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.scoring.rows import KEY_BYTES, WAYS, Rows, entry_bytes
from sidecar.types import Floats

WIDTH = 3
SET_BYTES = WAYS * entry_bytes(WIDTH) + 1
KEYS = [blake2b(bytes([number]), digest_size=KEY_BYTES).digest() for number in range(60)]


def row_of(key: bytes) -> Floats:
    return np.array([sum(key[part::WIDTH]) for part in range(WIDTH)], np.float32)


class Model:
    """The same in plain Python: each set is a queue, and who was asked for is sent to its end once."""

    def __init__(self, sets: int) -> None:
        self.sets: list[deque[bytes]] = [deque() for _ in range(sets)]
        self.asked: set[bytes] = set()
        self.evicted = 0

    def find(self, key: bytes) -> bool:
        if key not in self.sets[hash(key) % len(self.sets)]:
            return False
        self.asked.add(key)
        return True

    def put(self, key: bytes) -> None:
        queue = self.sets[hash(key) % len(self.sets)]
        if len(queue) == WAYS:
            while queue[0] in self.asked:
                self.asked.remove(queue[0])
                queue.rotate(-1)
            queue.popleft()
            self.evicted += 1
        queue.append(key)

    def __len__(self) -> int:
        return sum(map(len, self.sets))


@given(st.integers(1, 3), st.lists(st.lists(st.sampled_from(KEYS), max_size=12, unique=True), max_size=40))
def test_it_keeps_and_evicts_as_second_chance_queues_do(sets: int, batches: list[list[bytes]]) -> None:
    rows, model = Rows(WIDTH, sets * SET_BYTES + 5), Model(sets)
    for batch in batches:
        slots = {key: rows.find(key) for key in batch}
        known = [key for key in batch if model.find(key)]
        assert [key for key, slot in slots.items() if slot >= 0] == known
        if known:
            found = rows.take([slots[key] for key in known])
            np.testing.assert_array_equal(found, [row_of(key) for key in known])
        missing = [key for key in batch if slots[key] < 0]
        if missing:
            rows.put(missing, np.array([row_of(key) for key in missing]))
        for key in missing:
            model.put(key)
        assert (rows.held, rows.evicted, rows.nbytes) == (len(model), model.evicted, len(model) * entry_bytes(WIDTH))
        assert rows.held <= rows.capacity


def test_what_is_asked_for_outlives_what_is_not() -> None:
    rows = Rows(WIDTH, SET_BYTES)
    rows.put(KEYS[:1], row_of(KEYS[0])[None])
    for key in KEYS[1:]:
        assert rows.find(KEYS[0]) >= 0
        rows.put([key], row_of(key)[None])
    assert rows.held == rows.capacity == WAYS


def test_a_row_that_was_taken_stays_as_it_was_when_its_slot_is_used_again() -> None:
    rows = Rows(WIDTH, SET_BYTES)
    rows.put(KEYS[:2], np.array([row_of(key) for key in KEYS[:2]]))
    for amount in (1, 2):
        slots = [rows.find(key) for key in KEYS[:amount]]
        taken = rows.take(slots)
        rows._values[slots] = 0.0
        np.testing.assert_array_equal(taken, [row_of(key) for key in KEYS[:amount]])
        rows._values[slots] = taken


@pytest.mark.parametrize("width", [3, 29, 513])
def test_full_it_holds_no_more_memory_than_it_may(width: int) -> None:
    most = 1 << 20
    keys = [blake2b(number.to_bytes(4), digest_size=KEY_BYTES).digest() for number in range(80_000)]
    values = np.zeros((1, width), np.float32)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        rows = Rows(width, most)
        assert tracemalloc.get_traced_memory()[0] - before < 4096  # nothing yet, where nothing is kept
        for key in keys:
            rows.put([key], values)
        full = tracemalloc.get_traced_memory()[0] - before
        rows.clear()
        emptied = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert most - 2 * (WAYS * entry_bytes(width) + 1) - 4096 < full < most + 4096
    assert emptied < 4096
    assert (rows.held, rows.evicted, rows.nbytes, rows.find(keys[-1])) == (0, 0, 0, -1)


def test_it_can_be_filled_again_after_it_was_cleared() -> None:
    rows = Rows(WIDTH, SET_BYTES)
    rows.put(KEYS[:1], row_of(KEYS[0])[None])
    rows.clear()
    rows.put(KEYS[1:2], row_of(KEYS[1])[None])
    np.testing.assert_array_equal(rows.take([rows.find(KEYS[1])])[0], row_of(KEYS[1]))
    assert rows.find(KEYS[0]) == -1


def test_a_bound_under_one_set_is_refused() -> None:
    with pytest.raises(ValueError, match="hold no set of 8 rows of 3 numbers"):
        Rows(WIDTH, SET_BYTES - 1)


@given(st.lists(st.sampled_from(KEYS), unique=True, max_size=30))
def test_one_row_in_parts_is_kept_as_a_whole_one(keys: list[bytes]) -> None:
    whole, in_parts = Rows(WIDTH, 2 * SET_BYTES), Rows(WIDTH, 2 * SET_BYTES)
    for key in keys:
        row = row_of(key)[None]
        whole.put([key], row)
        in_parts.put_one(key, [row[:, :2], row[:, 2:]])
        assert (in_parts.held, in_parts.evicted) == (whole.held, whole.evicted)
        np.testing.assert_array_equal(in_parts.take([in_parts.find(key)]), row)
    for key in keys:
        assert in_parts.find(key) == whole.find(key)
