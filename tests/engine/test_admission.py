import math
from collections import Counter, deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.engine.admission import Admission, Bounds, _Line

BATCH = 4


class Line:
    """A connection."""

    def __init__(self) -> None:
        self.held = 0
        self.paused = False

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


class Call:
    def __init__(
        self,
        name: str,
        origin: Line,
        *,
        segment: str = "",
        since: float = 0.0,
        expires: float = math.inf,
        size: int = 1,
    ) -> None:
        self.name = name
        self.origin = origin
        self.segment = segment
        self.since = since
        self.expires = expires
        self.raw = bytes(size)
        self.gone = False

    def __repr__(self) -> str:
        return self.name


class Desk:
    """An admission, and what became of the calls that were dropped."""

    def __init__(self, calls: int = 1000, size: int = 10**6, wait_s: float = math.inf) -> None:
        self.dropped: list[tuple[str, str, str]] = []  # (what happened, call, segment)
        self.asked = 0
        self.line = Line()
        self.admission: Admission[Call] = Admission(
            Bounds(BATCH, calls, size, wait_s),
            segment_of=self._segment,
            shed=lambda call, segment: self.dropped.append(("shed", call.name, segment)),
            expire=lambda call, segment: self.dropped.append(("expired", call.name, segment)),
            forget=lambda call, segment: self.dropped.append(("gone", call.name, segment)),
        )

    def _segment(self, call: Call) -> str:
        self.asked += 1
        return call.segment

    def offer(self, *names: str, origin: Line | None = None, **told: object) -> list[Call]:
        calls = [Call(name, origin or self.line, **told) for name in names]  # type: ignore[arg-type]
        for call in calls:
            self.admission.offer(call)
        return calls

    def take(self, most: int = BATCH, now: float = 0.0, need_s: float = 0.0) -> list[str]:
        return [call.name for call in self.admission.take(most, now, need_s)]

    def names(self, what: str) -> list[str]:
        return [name for happened, name, _ in self.dropped if happened == what]


def numbered(count: int, prefix: str = "") -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def test_what_fits_into_a_batch_is_taken_in_order_and_its_segment_is_not_looked_for() -> None:
    desk = Desk()
    desk.offer(*numbered(BATCH))
    assert desk.take() == numbered(BATCH)
    assert (desk.asked, len(desk.admission), desk.admission.crowded) == (0, 0, False)


def test_up_to_two_batches_the_oldest_is_taken_first() -> None:
    desk = Desk()
    desk.offer(*numbered(2 * BATCH))
    assert desk.take() + desk.take() == numbered(2 * BATCH)


def test_beyond_two_batches_the_newest_is_taken_first() -> None:
    desk = Desk()
    desk.offer(*numbered(3 * BATCH))
    assert desk.take() == ["11", "10", "9", "8"]
    assert desk.admission.crowded
    assert desk.take() == ["0", "1", "2", "3"]


def test_what_could_not_be_answered_before_its_deadline_is_dropped_unread() -> None:
    desk = Desk()
    desk.offer(*numbered(BATCH + 1, "late "), expires=10.0)
    desk.offer("patient")
    assert desk.take(now=9.5, need_s=1.0) == ["patient"]
    assert desk.names("expired") == numbered(BATCH + 1, "late ")


def test_where_nothing_waits_for_its_turn_only_what_has_expired_is_dropped() -> None:
    desk = Desk()
    desk.offer("late", expires=10.0)
    desk.offer("in time", expires=10.2)
    assert desk.take(now=10.1, need_s=1.0) == ["in time"]
    assert desk.names("expired") == ["late"]


def test_calls_whose_caller_is_gone_are_neither_taken_nor_answered() -> None:
    desk = Desk()
    few = desk.offer("a", "b")
    few[0].gone = True
    assert desk.take() == ["b"]
    many = desk.offer(*numbered(BATCH * 3))
    many[-1].gone = many[0].gone = True
    assert len(desk.take()) == BATCH
    assert sorted(desk.names("gone")) == ["0", "11", "a"]


def test_a_call_that_has_waited_longer_than_the_budget_is_shed() -> None:
    desk = Desk(wait_s=1.0)
    desk.offer(*numbered(BATCH), since=0.0)
    desk.offer(*numbered(BATCH, "new "), since=1.5)
    assert desk.take(now=2.0) == numbered(BATCH, "new ")
    assert desk.names("shed") == numbered(BATCH)


def test_beyond_the_bound_of_calls_the_oldest_of_the_longest_segment_is_shed() -> None:
    desk = Desk(calls=2 * BATCH)
    desk.offer(*numbered(3 * BATCH), segment="flood")
    desk.offer("few", segment="few")
    taken = desk.take()
    assert "few" in taken
    assert desk.dropped == [("shed", str(number), "flood") for number in range(BATCH + 1)]
    assert len(desk.admission) == BATCH


def test_beyond_the_bound_of_bytes_the_connection_that_holds_most_gives_up_its_oldest() -> None:
    desk = Desk(size=1000)
    large = Line()
    desk.offer(*numbered(3, "large "), origin=large, size=400)
    desk.offer(*numbered(BATCH, "small "), size=10)
    desk.take(most=0)
    assert desk.names("shed") == ["large 0"]
    assert (large.held, desk.line.held) == (800, 40)


def test_connections_take_turns_whatever_one_of_them_sends() -> None:
    desk = Desk()
    desk.offer(*numbered(50, "flood "))
    desk.offer("quiet", origin=Line())
    assert "quiet" in desk.take()


def test_segments_of_one_connection_take_turns() -> None:
    desk = Desk()
    desk.offer(*numbered(50, "flood "), segment="flood")
    desk.offer("quiet", segment="quiet")
    assert "quiet" in desk.take()


def test_many_segments_of_one_connection_get_no_more_turns_than_one_of_another() -> None:
    desk = Desk()
    for number in range(100):
        desk.offer(f"many {number}", segment=f"segment {number}")
    other = Line()
    desk.offer(*numbered(100, "one "), origin=other, segment="one")
    taken = [name for _ in range(10) for name in desk.take()]
    assert Counter(name.split()[0] for name in taken) == {"many": 20, "one": 20}


def test_a_connection_over_its_share_of_bytes_is_not_read_until_it_is_below_half_of_it() -> None:
    desk = Desk(size=4000)
    desk.offer(*numbered(10), size=150)
    desk.take(most=0)
    assert desk.line.paused
    desk.take(most=4)
    assert desk.line.paused
    desk.take(most=3)
    assert not desk.line.paused


def test_what_is_put_back_is_the_first_in_the_next_turn() -> None:
    desk = Desk()
    calls = desk.offer(*numbered(BATCH))
    desk.admission.take(BATCH, 0.0, 0.0)
    desk.admission.put_back(calls[2:])
    desk.offer("later")
    assert desk.take() == ["2", "3", "later"]


@pytest.mark.parametrize("kind", ["shed", "expired", "gone"])
def test_a_connection_of_which_all_was_dropped_holds_nothing(kind: str) -> None:
    desk = Desk(wait_s=1.0)
    calls = desk.offer(*numbered(20), expires=5.0 if kind == "expired" else math.inf, since=0.0, size=7)
    desk.take(most=0)
    assert desk.line.held == 140
    for call in calls:
        call.gone = kind == "gone"
    assert desk.take(now=10.0) == []
    assert Counter(happened for happened, *_ in desk.dropped) == {kind: 20}
    assert (desk.line.held, len(desk.admission)) == (0, 0)


OFFERS = st.tuples(
    st.integers(0, 3), st.sampled_from(["a", "b", "c"]), st.floats(0, 3), st.integers(0, 50), st.booleans()
)


@given(st.lists(st.tuples(st.lists(OFFERS, max_size=12), st.integers(0, 6), st.floats(0, 1)), max_size=12))
def test_every_call_is_taken_or_dropped_once_and_bounds_hold(
    steps: list[tuple[list[tuple[int, str, float, int, bool]], int, float]],
) -> None:
    desk = Desk(calls=10, size=200, wait_s=2.0)
    lines = [Line() for _ in range(4)]
    offered, taken, now = 0, [], 0.0
    for offers, most, pause in steps:
        for line, segment, lives, size, gone in offers:
            call = Call(str(offered), lines[line], segment=segment, since=now, expires=now + lives, size=size)
            call.gone = gone
            desk.admission.offer(call)
            offered += 1
        now += pause
        taken += desk.admission.take(most, now, 0.1)
        assert len(desk.admission) <= 10
        assert sum(line.held for line in lines) <= 200
    while len(desk.admission):
        taken += desk.admission.take(5, now, 0.0)
    names = [call.name for call in taken] + [name for _, name, _ in desk.dropped]
    assert sorted(names, key=int) == [str(number) for number in range(offered)]
    assert all(line.held == 0 and not line.paused for line in lines)


@pytest.mark.parametrize("apart", ["segments", "connections"])
def test_of_many_short_lines_each_gives_up_its_own_without_a_search_for_each_call(
    apart: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = Counter[str]()
    longest = _Line.longest

    def counting(self: _Line[Call]) -> tuple[str, deque[Call]]:
        searched["times"] += 1
        return longest(self)

    monkeypatch.setattr(_Line, "longest", counting)
    desk = Desk(calls=500)
    for number in range(2000):
        if apart == "segments":
            desk.offer(str(number), segment=str(number))
        else:
            desk.offer(str(number), origin=Line())
    desk.take()
    assert len(desk.names("shed")) == 1500
    assert len(desk.admission) == 500 - BATCH
    assert searched["times"] <= (20 if apart == "segments" else 1500)


def test_short_lines_give_up_nothing_while_a_long_one_is_there() -> None:
    desk = Desk(calls=100)
    desk.offer(*numbered(300, "long "), segment="long")
    short = [Line() for _ in range(40)]
    for number, line in enumerate(short):
        desk.offer(f"short {number}", origin=line)
    desk.take()
    assert len(desk.names("shed")) == 240
    assert not [name for name in desk.names("shed") if name.startswith("short")]


def test_hopeless_calls_are_dropped_though_their_turn_has_not_come() -> None:
    desk = Desk()
    desk.offer(*numbered(BATCH, "hopeless "), expires=10.0)
    desk.offer(*numbered(3 * BATCH, "patient "))
    taken = desk.take(now=9.5, need_s=1.0)
    assert all(name.startswith("patient") for name in taken)
    assert desk.names("expired") == numbered(BATCH, "hopeless ")


def test_the_budget_of_waiting_counts_the_time_that_answering_will_take() -> None:
    desk = Desk(wait_s=1.0)
    desk.offer(*numbered(BATCH, "old "), since=0.0)
    desk.offer(*numbered(BATCH, "new "), since=0.5)
    assert desk.take(now=0.8, need_s=0.3) == numbered(BATCH, "new ")
    assert desk.names("shed") == numbered(BATCH, "old ")
