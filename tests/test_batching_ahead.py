"""Batches that are begun now and answered later."""

import math
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.batching import ENOUGH_BATCHES, Batcher, Bounds

PATIENT = math.inf


class Caller:
    def __init__(self, expires: float = PATIENT) -> None:
        self.gone = False
        self.expires = expires
        self.wakers = 0

    def resume(self, then: Callable[[], None]) -> Callable[[], None]:
        return then

    def waker(self) -> Callable[[], None]:
        self.wakers += 1
        return lambda: None


class Begun:
    def __init__(self, jobs: Sequence[int]) -> None:
        self.jobs = list(jobs)
        self.done = False
        self.wakes: list[Callable[[], None]] = []

    def then(self, wake: Callable[[], None]) -> None:
        self.wakes.append(wake)

    def answers(self) -> list[int]:
        return [2 * job for job in self.jobs]


class Work:
    """Begins batches; the test says when each is done. Jobs are numbers, answers twice as large."""

    most = 4

    def __init__(self, room: int = 8) -> None:
        self.now = 0.0
        self.begun: list[Begun] = []
        self.replies: list[tuple[int, int]] = []
        self.shed: list[int] = []
        self._room = room
        self.batcher: Batcher[int, int] = Batcher(
            self._begin,
            Bounds(32, 64, 3.0),
            clock=lambda: self.now,
            unix=lambda: 1000.0 + self.now,
            shed=lambda job, _wait: self.shed.append(job) or -1,  # type: ignore[func-returns-value]
            expire=lambda _job: -2,
        )
        self.batcher.ahead = self

    def _begin(self, jobs: Sequence[int]) -> Begun:
        self.begun.append(Begun(jobs))
        return self.begun[-1]

    @property
    def room(self) -> int:
        return self._room - sum(len(one.jobs) for one in self.begun if not one.done)

    def add(self, *jobs: int, caller: Caller | None = None, segment: str = "") -> None:
        for job in jobs:
            self.batcher.add(
                job, lambda key, answer: self.replies.append((key, answer)), job, caller or Caller(), segment
            )

    def flush_all(self) -> None:
        while self.batcher.ready:
            self.batcher.flush()


def test_two_batches_are_begun_and_the_rest_waits_where_it_can_still_be_turned_away() -> None:
    work = Work()
    work.add(*range(20))
    work.flush_all()
    assert [one.jobs for one in work.begun] == [[19, 18, 17, 16], [15, 14, 13, 12]]  # the newest first
    assert (len(work.batcher), work.batcher.ready, work.replies) == (20, False, [])
    assert sorted(work.batcher.jobs()) == list(range(20))


def test_answers_come_in_the_order_in_which_batches_were_begun() -> None:
    work = Work()
    work.add(*range(8))
    work.flush_all()
    work.begun[1].done = True
    assert not work.batcher.ready
    work.batcher.flush()
    assert work.replies == []
    work.begun[0].done = True
    assert work.batcher.ready
    work.flush_all()
    assert work.replies == [(job, 2 * job) for job in range(8)]
    assert len(work.batcher) == 0


def test_each_batch_asks_one_of_its_callers_for_a_waker() -> None:
    work = Work()
    callers = [Caller(), Caller()]
    for number, caller in enumerate(callers):
        work.add(number, caller=caller)
    work.flush_all()
    assert [caller.wakers for caller in callers] == [1, 0]
    assert len(work.begun[0].wakes) == 1


def test_since_when_the_oldest_is_under_way_is_told() -> None:
    work = Work()
    assert work.batcher.flying_since is None
    for now in (1.0, 2.0):
        work.now = now
        work.add(int(now))
        work.batcher.flush()
    assert work.batcher.flying_since == 1.0
    work.begun[0].done = True
    work.batcher.flush()
    assert work.batcher.flying_since == 2.0


def test_what_is_under_way_counts_in_the_predicted_wait() -> None:
    work = Work()
    for number in range(ENOUGH_BATCHES):
        work.add(*range(4))
        work.batcher.flush()
        work.now += 2.0
        work.begun[number].done = True
        work.batcher.flush()
    work.replies.clear()
    work.add(*range(8))
    work.flush_all()
    in_time, too_late = (Caller(1000.0 + work.now + left) for left in (60.0, 2.5))
    work.add(100, caller=in_time)
    work.add(101, caller=too_late)
    assert work.shed == [
        100,
        101,
    ]  # eight of half a second each are ahead: over the queue's three seconds, and over 2.5
    assert [key for key, _ in work.replies] == [100, 101]


def test_a_caller_who_is_gone_before_its_batch_begins_is_forgotten() -> None:
    work = Work(room=4)
    callers = [Caller() for _ in range(8)]
    for number, caller in enumerate(callers):
        work.add(number, caller=caller)
    work.flush_all()
    callers[5].gone = True
    work.begun[0].done = True
    work.flush_all()
    assert work.begun[1].jobs == [4, 6, 7]


def test_without_anything_ahead_batches_have_their_old_size_again() -> None:
    work = Work()
    work.batcher.ahead = None
    work.add(*range(40))
    work.batcher.flush()
    assert len(work.begun[0].jobs) == 32


@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=20),
    done=st.lists(st.booleans(), min_size=60, max_size=60),
)
def test_every_job_is_answered_once_with_its_own_answer(sizes: list[int], done: list[bool]) -> None:
    work = Work()
    number = 0
    endings = iter(done)
    for size in sizes:
        work.add(*range(number, number + size), segment=str(size % 3))
        number += size
        work.batcher.flush()
        for one in work.begun:
            one.done = one.done or next(endings, True)
        assert sum(len(one.jobs) for one in work.begun if not one.done) <= 8
    while len(work.batcher):
        for one in work.begun:
            one.done = True
        work.batcher.flush()
    answered = [key for key, answer in work.replies if answer == 2 * key]
    assert sorted(answered + work.shed) == list(range(number))


def test_an_answer_that_comes_at_once_needs_no_waker() -> None:
    caller = Caller()
    replies = []
    batcher: Batcher[int, int] = Batcher(
        lambda jobs: [2 * job for job in jobs],
        Bounds(4),
        clock=lambda: 0.0,
        unix=lambda: 0.0,
        shed=lambda _job, _wait: -1,
        expire=lambda _job: -2,
    )
    batcher.add(1, lambda _key, answer: replies.append(answer), 1, caller)
    assert batcher.ready
    batcher.flush()
    assert (replies, caller.wakers, batcher.ready) == ([2], 0, False)
    with pytest.raises(StopIteration):
        next(batcher.jobs())
