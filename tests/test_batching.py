import math
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.batching import ENOUGH_BATCHES, Batcher, Bounds

SHED, EXPIRED = -1, -2


class Waiting:
    """A caller; by default one that waits for ever."""

    def __init__(self, expires: float = math.inf) -> None:
        self.expires = expires
        self.gone = False

    def waker(self) -> Callable[[], None]:
        return lambda: None

    def resume(self, then: Callable[[], None]) -> Callable[[], None]:
        return then


class Work:
    """Answers by doubling; each job takes its time on a clock that only work moves."""

    def __init__(self, batch: int, waiting: int = 10**6, wait_s: float = math.inf, job_s: float = 0.0) -> None:
        self.now = 1000.0
        self.job_s = job_s
        self.batches: list[list[int]] = []
        self.received: list[tuple[object, int]] = []
        self.waits: list[float] = []
        self.forgotten: list[int] = []
        self.batcher: Batcher[int, int] = Batcher(
            self.answer,
            Bounds(batch, waiting, wait_s),
            clock=lambda: self.now,
            unix=lambda: self.now,
            shed=self.shed,
            expire=lambda _job: EXPIRED,
            forget=self.forgotten.append,
        )

    def answer(self, jobs: Sequence[int]) -> list[int]:
        self.batches.append(list(jobs))
        self.now += self.job_s * len(jobs)
        return [2 * job for job in jobs]

    def shed(self, _job: int, wait_s: float) -> int:
        self.waits.append(wait_s)
        return SHED

    def add(self, job: int, segment: str = "", caller: Waiting | None = None) -> Waiting:
        caller = caller or Waiting()
        self.batcher.add(job, self.take, job, caller, segment)
        return caller

    def take(self, key: object, answer: int) -> None:
        self.received.append((key, answer))

    def flush_all(self) -> None:
        while self.batcher:
            self.batcher.flush()

    def learn(self) -> None:
        """Works off full batches until the time of a job is known, and forgets them."""
        for _ in range(40):
            for job in range(self.batcher._limit):
                self.add(job)
            self.flush_all()
        self.batches.clear()
        self.received.clear()


# None stands for a flush, a number for a job of one of three segments.
interleavings = st.lists(st.one_of(st.none(), st.integers(0, 10**6)), max_size=200)


@given(interleavings, st.integers(1, 40), st.integers(1, 60))
def test_every_job_is_answered_once_and_gets_its_own_answer_or_is_turned_away(
    steps: list[int | None], batch: int, waiting: int
) -> None:
    work = Work(batch, waiting)
    jobs: list[int] = []
    for step in steps:
        if step is None:
            work.batcher.flush()
        else:
            work.batcher.add(step, work.take, len(jobs), Waiting(), f"segment {step % 3}")
            jobs.append(step)
        assert len(work.batcher) <= max(batch, waiting)
    work.flush_all()
    received = [(int(str(key)), answer) for key, answer in work.received]
    assert sorted(key for key, _ in received) == list(range(len(jobs)))
    assert all(answer in (2 * jobs[key], SHED) for key, answer in received)
    if len(jobs) <= batch:
        assert not work.waits


@given(st.integers(0, 100), st.integers(1, 40))
def test_a_flush_answers_one_batch_as_large_as_it_may_be(amount: int, batch: int) -> None:
    work = Work(batch)
    for job in range(amount):
        work.add(job)
    work.flush_all()
    sizes = [len(jobs) for jobs in work.batches]
    assert sum(sizes) == amount
    assert all(size == batch for size in sizes[:-1])
    assert all(0 < size <= batch for size in sizes)


def test_up_to_two_batches_of_a_segment_are_answered_in_the_order_in_which_they_came() -> None:
    work = Work(3)
    for job in range(6):
        work.add(job)
    work.flush_all()
    assert [key for key, _ in work.received] == list(range(6))


def test_beyond_two_batches_the_newest_jobs_are_answered_first() -> None:
    work = Work(3)
    for job in range(10):
        work.add(job)
    work.flush_all()
    assert work.batches == [[9, 8, 7], [6, 5, 4], [0, 1, 2], [3]]


def test_the_room_is_what_a_batch_lacks() -> None:
    work = Work(2)
    assert work.batcher.room == 2
    work.add(1)
    assert work.batcher.room == 1
    for job in range(3):
        work.add(job)
    assert work.batcher.room <= 0


def test_a_delivery_that_fails_costs_nobody_else_their_answer(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_key: object, _answer: int) -> None:
        raise ValueError("the caller is gone")

    work = Work(2)
    for job in range(4):
        work.batcher.add(job, broken if job in (0, 3) else work.take, job, Waiting())
    work.flush_all()
    assert [answer for _, answer in work.received] == [2, 4]
    assert len(caplog.records) == 2


def test_what_a_delivery_adds_waits_for_the_next_flush() -> None:
    work = Work(8)

    def once_more(key: object, answer: int) -> None:
        work.take(key, answer)
        if len(work.received) == 1:
            work.batcher.add(answer, once_more, None, Waiting())

    work.batcher.add(1, once_more, None, Waiting())
    work.batcher.flush()
    assert [answer for _, answer in work.received] == [2]
    assert len(work.batcher) == 1
    work.batcher.flush()
    assert [answer for _, answer in work.received] == [2, 4]


# --- fairness --------------------------------------------------------------------------------------------------------


def test_a_flood_of_one_segment_does_not_keep_another_waiting() -> None:
    work = Work(4)
    for job in range(100):
        work.add(job, "flood")
    work.add(1000, "quiet")
    work.batcher.flush()
    assert 1000 in work.batches[0]


def test_with_more_segments_than_a_batch_holds_each_gets_its_turn() -> None:
    work = Work(4)
    for round_ in range(5):
        for segment in range(10):
            work.add(10 * round_ + segment, f"segment {segment}")
    for _ in range(3):
        work.batcher.flush()
    first = [job % 10 for jobs in work.batches for job in jobs][:10]
    assert sorted(first) == list(range(10))


def test_where_the_queue_is_full_the_longest_segment_gives_way() -> None:
    work = Work(1, waiting=10)
    for job in range(10):
        work.add(job, "flood")
    work.add(100, "quiet")
    assert work.received == [(0, SHED)]
    work.add(11, "flood")
    assert work.received == [(0, SHED), (11, SHED)]
    assert len(work.batcher) == 10


# --- time ------------------------------------------------------------------------------------------------------------


def test_a_job_that_would_wait_longer_than_the_budget_is_turned_away_with_the_wait() -> None:
    work = Work(10, wait_s=0.55, job_s=0.01)
    work.learn()
    for job in range(60):
        work.add(job)
    assert not work.received  # five batches ahead of it are 0.5 s
    work.add(60)
    assert work.received == [(60, SHED)]
    assert work.waits == [pytest.approx(0.6)]


def test_the_budget_counts_the_wait_until_a_batch_begins_so_a_slow_model_still_answers_when_idle() -> None:
    work = Work(10, wait_s=0.5, job_s=1.0)
    work.learn()
    for job in range(10):
        work.add(job)
    assert not work.received


def test_a_job_that_cannot_be_answered_before_its_deadline_is_turned_away_at_once() -> None:
    work = Work(10, job_s=0.01)
    work.learn()
    for job in range(30):
        work.add(job)
    work.add(30, caller=Waiting(expires=work.now + 0.3))
    work.add(31, caller=Waiting(expires=work.now + 0.5))
    assert work.received == [(30, SHED)]


def test_where_nothing_waits_a_job_is_tried_though_it_seems_too_late_since_only_trying_tells() -> None:
    work = Work(10, job_s=0.1)
    work.learn()
    work.add(1, caller=Waiting(expires=work.now + 0.05))
    work.add(2, caller=Waiting(expires=work.now + 0.05))
    assert work.received == [(2, SHED)]


def test_a_deadline_that_has_passed_is_not_worked_for() -> None:
    work = Work(10)
    work.add(1, caller=Waiting(expires=work.now - 0.1))
    late = Waiting(expires=work.now + 5.0)
    work.add(2, caller=late)
    work.now += 6.0
    work.batcher.flush()
    assert work.received == [(1, EXPIRED), (2, EXPIRED)]
    assert work.batches == []


def test_who_hung_up_is_not_worked_for_and_the_batch_is_filled_with_others() -> None:
    work = Work(2)
    callers = [work.add(job) for job in range(4)]
    callers[0].gone = callers[2].gone = True
    work.batcher.flush()
    assert work.batches == [[1, 3]]
    assert work.forgotten == [0, 2]
    assert len(work.batcher) == 0


def test_one_slow_batch_at_the_start_does_not_have_later_jobs_turned_away() -> None:
    work = Work(10, job_s=1.0)
    work.add(1)
    work.batcher.flush()
    work.job_s = 0.001
    work.add(2)
    work.batcher.flush()
    work.add(3, caller=Waiting(expires=work.now + 0.1))
    assert (3, SHED) not in work.received


def test_nobody_is_turned_away_for_the_sake_of_the_first_slow_batches() -> None:
    work = Work(1, wait_s=0.1, job_s=1.0)
    for number in range(ENOUGH_BATCHES + 2):
        work.add(number)
    for _ in range(ENOUGH_BATCHES):
        assert not work.waits
        work.add(100)
        work.batcher.flush()
    work.add(101)
    assert work.received[-1] == (101, SHED)


def test_the_lanes_own_time_between_two_batches_counts_while_jobs_wait() -> None:
    work = Work(10, job_s=0.001)
    for job in range(10):
        work.add(job)
    for _ in range(60):
        for job in range(10):
            work.add(job)
        work.batcher.flush()
        work.now += 0.01  # what the transport does between two batches
    work.received.clear()
    for job in range(20):  # 10 wait already: two more batches, 0.02 s each with what the transport does
        work.add(job, caller=Waiting(expires=work.now + 0.035))
    assert [key for key, _ in work.received] == list(range(10, 20))


def test_jobs_shows_what_waits() -> None:
    work = Work(2)
    for job in range(5):
        work.add(job, f"segment {job % 2}")
    assert sorted(work.batcher.jobs()) == [0, 1, 2, 3, 4]
