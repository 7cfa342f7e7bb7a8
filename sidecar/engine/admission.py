"""Admission: calls wait here as bytes, before they are parsed, and most of an overload ends here.

A call costs a microsecond or two as long as nothing but its bytes were looked at, and fifty once it is parsed, scored and
answered. So what cannot be answered is dropped as bytes:

- *Newest first.* Where more than two batches wait, the newest call is taken first (adaptive LIFO; Maurer, "Fail at
  Scale", ACM Queue 13(8), 2015): in a queue that does not get shorter the oldest calls are the ones that expire anyway.
- *No work in vain.* A call that could not be answered before its deadline is dropped; one that has waited longer than
  the queue's budget is shed.
- *Turns.* Connections take turns, and within a connection segments do. Beyond the bounds of count and bytes the longest
  segment of the longest connection gives up its oldest call (longest queue drop; Suter et al., IEEE JSAC 17(6), 1999).
- *Back pressure.* A connection whose waiting bytes are over its share is not read from until they are below half of it.

A segment is known here only as far as a few bytes tell it; parsing may find another one.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

# So many batches may wait before the newest call is taken first.
FIFO_BATCHES = 2
# Of a line that is too long, so much is dropped before it is looked again which one is the longest.
DROP_SHARE = 8


class Origin(Protocol):
    """A connection.

    Attributes:
        held: bytes of its calls that wait here; counted by Admission.
        paused: True while nothing is read from it.
    """

    held: int
    paused: bool

    def pause(self) -> None:
        """Stops reading; sets `paused`."""
        ...

    def resume(self) -> None:
        """Reads on; clears `paused`."""
        ...


class Waiting(Protocol):
    """A call that waits.

    Attributes:
        raw: its message, unparsed.
        origin: its connection.
        since: clock reading when its message was complete.
        expires: clock reading when an answer is of no more use; inf if it always is.
        gone: True once its caller hung up.
    """

    @property
    def raw(self) -> bytes: ...  # noqa: D102 - said above
    @property
    def origin(self) -> Origin: ...  # noqa: D102 - said above
    @property
    def since(self) -> float: ...  # noqa: D102 - said above
    @property
    def expires(self) -> float: ...  # noqa: D102 - said above
    @property
    def gone(self) -> bool: ...  # noqa: D102 - said above


class Bounds(NamedTuple):
    """How much may wait.

    Attributes:
        batch: calls of one batch.
        calls: most calls.
        bytes: most bytes of their messages.
        wait_s: longest time that a call may wait, in seconds.
    """

    batch: int
    calls: int
    bytes: int
    wait_s: float


C = TypeVar("C", bound=Waiting)
Drop = Callable[[C, str], None]  # given a call and its segment, as far as it is known


class _Line(Generic[C]):
    """The waiting calls of one connection, by segment, in the order in which these take turns."""

    __slots__ = ("calls", "segments")

    def __init__(self) -> None:
        self.calls = 0
        self.segments: dict[str, deque[C]] = {}

    def take(self, newest: bool) -> tuple[str, C]:  # noqa: FBT001 - called for each call
        """The next segment's newest or oldest call; the segment goes to the end of the turns."""
        segments = self.segments
        segment, waiting = next(iter(segments.items()))
        call = waiting.pop() if newest else waiting.popleft()
        self.calls -= 1
        if not waiting:
            del segments[segment]
        elif len(segments) > 1:
            del segments[segment]
            segments[segment] = waiting
        return segment, call

    def longest(self) -> tuple[str, deque[C]]:
        """The segment with most calls."""
        return max(self.segments.items(), key=lambda item: len(item[1]))


class Admission(Generic[C]):
    """The calls that wait unparsed. Belongs to the transport's thread.

    Args:
        bounds: how much may wait.
        segment_of: the segment of a call, from a few of its bytes; asked only where more waits than one batch.
        shed: told of each call that is beyond the bounds.
        expire: told of each call that could not be answered before its deadline.
        forget: told of each call whose caller is gone.
    """

    def __init__(
        self, bounds: Bounds, *, segment_of: Callable[[C], str], shed: Drop[C], expire: Drop[C], forget: Drop[C]
    ) -> None:
        self._bounds = bounds
        self._share = bounds.bytes // 4
        self._segment_of = segment_of
        self._shed, self._expire, self._forget = shed, expire, forget
        self._fresh: list[C] = []  # came since the last take, in order
        self._lines: dict[Any, _Line[C]] = {}  # by connection, in the order in which these take turns
        self._sorted = self._bytes = 0  # what is in the lines

    def __len__(self) -> int:
        return len(self._fresh) + self._sorted

    @property
    def crowded(self) -> bool:
        """True if more waits than was taken the last time."""
        return self._sorted > 0

    def offer(self, call: C) -> None:
        """Takes a call. Nothing is dropped before the next `take`."""
        self._fresh.append(call)

    def take(self, most: int, now: float, need_s: float) -> list[C]:
        """The calls whose turn it is.

        Args:
            most: of them.
            now: clock reading.
            need_s: seconds from now until a call that is taken will be answered, where calls wait for their turn.
        """
        fresh = self._fresh
        if not self._sorted and len(fresh) <= most:
            self._fresh = []
            return self._sound(fresh, now)
        self._sort(fresh)
        self._fresh = []
        self._sweep(now, need_s)
        self._keep_bounds()
        return self._turns(most, now, need_s)

    def put_back(self, calls: Iterable[C]) -> None:
        """Takes calls back that were taken, and whose turn has to wait after all."""
        self._fresh = [*calls, *self._fresh]

    def _sound(self, calls: list[C], now: float) -> list[C]:
        for call in calls:
            if call.gone or call.expires <= now:
                break
        else:
            return calls
        return [call for call in calls if self._alive(call, now)]

    def _alive(self, call: C, now: float, segment: str | None = None) -> bool:
        if call.gone:
            self._forget(call, segment or "")
        elif call.expires <= now:
            self._expire(call, self._segment_of(call) if segment is None else segment)
        else:
            return True
        return False

    def _sort(self, calls: list[C]) -> None:
        lines, segment_of, share = self._lines, self._segment_of, self._share
        for call in calls:
            if call.gone:
                self._forget(call, "")
                continue
            origin = call.origin
            line = lines.get(origin)
            if line is None:
                line = lines[origin] = _Line()
            segment = segment_of(call)
            waiting = line.segments.get(segment)
            if waiting is None:
                waiting = line.segments[segment] = deque()
            waiting.append(call)
            line.calls += 1
            size = len(call.raw)
            self._sorted += 1
            self._bytes += size
            origin.held += size
            if origin.held > share and not origin.paused:
                origin.pause()

    def _leave(self, call: C) -> None:
        size = len(call.raw)
        self._sorted -= 1
        self._bytes -= size
        origin = call.origin
        origin.held -= size
        if origin.paused and origin.held <= self._share // 2:
            origin.resume()

    def _sweep(self, now: float, need_s: float) -> None:
        """Drops from the old end of each line what is gone, hopeless or too old."""
        latest = now + need_s
        # The answering counts too: the budget is to hold for what is answered.
        oldest = now - self._bounds.wait_s + min(need_s, self._bounds.wait_s / 2)
        empty = []
        for origin, line in self._lines.items():
            for segment, waiting in list(line.segments.items()):
                while waiting:
                    call = waiting[0]
                    if call.gone:
                        drop = self._forget
                    elif call.expires < latest:
                        drop = self._expire
                    elif call.since < oldest:
                        drop = self._shed
                    else:
                        break
                    waiting.popleft()
                    line.calls -= 1
                    self._leave(call)
                    drop(call, segment)
                if not waiting:
                    del line.segments[segment]
            if not line.calls:
                empty.append(origin)
        for origin in empty:
            del self._lines[origin]

    def _keep_bounds(self) -> None:
        lines, bounds = self._lines, self._bounds
        while self._exceeded():
            if self._bytes > bounds.bytes:
                origin, line = max(lines.items(), key=lambda item: item[0].held)
                self._shorten(line, max(1, line.calls // DROP_SHARE))
                if not line.calls:
                    del lines[origin]
                continue
            longest = max(line.calls for line in lines.values())
            level = longest - max(1, longest // DROP_SHARE)
            for origin, line in [item for item in lines.items() if item[1].calls > level]:
                self._shorten(line, line.calls - level)
                if not line.calls:
                    del lines[origin]

    def _exceeded(self) -> bool:
        return self._sorted > self._bounds.calls or self._bytes > self._bounds.bytes

    def _shorten(self, line: _Line[C], most: int) -> None:
        """Drops at most so many calls of a line, from its longest segments, until the bounds are kept.

        All segments that are about as long as the longest are cut in one pass: where each call has a segment of its own,
        looking for the longest one anew for each would take time by the square of what waits.
        """
        segments = line.segments
        while most > 0 and self._exceeded():
            longest = len(line.longest()[1])
            level = longest - max(1, longest // DROP_SHARE)
            for segment, waiting in [item for item in segments.items() if len(item[1]) > level]:
                while len(waiting) > level and most > 0 and self._exceeded():
                    call = waiting.popleft()
                    line.calls -= 1
                    most -= 1
                    self._leave(call)
                    (self._forget if call.gone else self._shed)(call, segment)
                if not waiting:
                    del segments[segment]

    def _turns(self, most: int, now: float, need_s: float) -> list[C]:
        lines, taken = self._lines, list[C]()
        newest = self._sorted > FIFO_BATCHES * self._bounds.batch
        latest = now + need_s
        while lines and len(taken) < most:
            origin, line = next(iter(lines.items()))
            segment, call = line.take(newest)
            if not line.calls:
                del lines[origin]
            elif len(lines) > 1:
                del lines[origin]
                lines[origin] = line
            self._leave(call)
            if self._alive(call, latest, segment):
                taken.append(call)
        return taken
