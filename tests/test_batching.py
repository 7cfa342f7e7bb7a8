from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.batching import Batcher


def double(jobs: Sequence[int]) -> list[int]:
    return [2 * job for job in jobs]


# None stands for a flush, a number for a job.
interleavings = st.lists(st.one_of(st.none(), st.integers()), max_size=200)


@given(interleavings, st.integers(1, 40))
def test_every_answer_reaches_the_request_it_belongs_to(steps: list[int | None], limit: int) -> None:
    batcher: Batcher[int, int] = Batcher(double, limit)
    received: list[tuple[int, int]] = []
    jobs: list[int] = []
    for step in steps:
        if step is None:
            batcher.flush()
        else:
            batcher.add(step, lambda key, answer: received.append((key, answer)), len(jobs))
            jobs.append(step)
    batcher.flush()
    assert received == [(key, 2 * job) for key, job in enumerate(jobs)]
    assert len(batcher) == 0


@given(st.integers(0, 100), st.integers(1, 40))
def test_no_batch_is_larger_than_the_limit_and_none_is_smaller_than_it_must_be(amount: int, limit: int) -> None:
    sizes: list[int] = []

    def answer(jobs: Sequence[int]) -> Sequence[int]:
        sizes.append(len(jobs))
        return jobs

    batcher: Batcher[int, int] = Batcher(answer, limit)
    for job in range(amount):
        batcher.add(job, lambda _key, _answer: None, None)
    batcher.flush()
    assert sum(sizes) == amount
    assert all(size == limit for size in sizes[:-1])
    assert all(0 < size <= limit for size in sizes)


def test_full_says_when_a_batch_can_be_filled() -> None:
    batcher: Batcher[int, int] = Batcher(double, 2)
    batcher.add(1, lambda _key, _answer: None, None)
    assert not batcher.full
    batcher.add(2, lambda _key, _answer: None, None)
    assert batcher.full


def test_a_delivery_that_fails_costs_nobody_else_their_answer(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_key: object, _answer: int) -> None:
        raise ValueError("the caller is gone")

    batcher: Batcher[int, int] = Batcher(double, 2)
    received: list[int] = []
    for job in range(5):
        batcher.add(job, broken if job in (0, 3) else lambda _key, answer: received.append(answer), None)
    batcher.flush()
    assert received == [2, 4, 8]
    assert len(caplog.records) == 2


def test_what_a_delivery_adds_waits_for_the_next_flush() -> None:
    batcher: Batcher[int, int] = Batcher(double, 8)
    answers: list[int] = []

    def once_more(_key: object, answer: int) -> None:
        answers.append(answer)
        if len(answers) == 1:
            batcher.add(answer, once_more, None)

    batcher.add(1, once_more, None)
    batcher.flush()
    assert answers == [2]
    assert len(batcher) == 1
    batcher.flush()
    assert answers == [2, 4]
