"""One candidate's server: slots, a FIFO queue, and everything that can go wrong with it; exact, in virtual time."""

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from itertools import count
from typing import NamedTuple

from benchmarks.fleet.calendar import Calendar
from benchmarks.fleet.candidates import Candidate

# A server that is down refuses the connection; that takes a round trip.
REFUSAL_S = 0.05
# How long a provider's burst may be, and after how long it wants to be asked again at least.
BURST_S, RETRY_AFTER_S = 10.0, 1.0


class Fault(Enum):
    """What is wrong with a server."""

    NONE = "none"
    ERRORS = "errors"  # what runs and waits breaks off, what comes fails at once
    HANG = "hang"  # nothing moves until it is over
    RATE_LIMIT = "rate_limit"  # what comes is turned away, what runs goes on


class End(Enum):
    """How a call ended."""

    ANSWERED = "answered"
    SERVER = "server error"
    RATE_LIMITED = "rate limited"
    TIMEOUT = "timeout"


@dataclass(eq=False)
class Call:
    """One call to one server.

    Attributes:
        prompt_tokens: of the prompt.
        tokens: of the answer.
        ended: is called once, with this call.
        sent: virtual seconds when it was sent, got a slot, of its first token and of its end; NaN before.
        end: how it ended; None before.
        retry_after_s: what the server asks for, 0 if nothing.
    """

    prompt_tokens: float
    tokens: float
    ended: Callable[["Call"], None]
    sent: float = float("nan")
    admitted: float = float("nan")
    first_token: float = float("nan")
    done: float = float("nan")
    end: End | None = None
    retry_after_s: float = 0.0


@dataclass
class Counters:
    """What a server has counted since its start, as its /metrics tell it; seconds are virtual."""

    answered: int = 0
    prompt_tokens: float = 0.0
    tokens: float = 0.0
    first_tokens: int = 0
    first_token_s: float = 0.0
    token_s: float = 0.0
    queue: list[tuple[float, int]] = field(default_factory=list)  # how many wait, from which time on
    full: list[tuple[float, bool]] = field(default_factory=list)  # whether all slots are taken, from which time on


class State(NamedTuple):
    """What a server has to do, as only the server knows it.

    Attributes:
        reading: of calls without a first token: seconds until it comes, and tokens of the answer.
        writing: tokens that are still to come of the other calls in slots.
        waiting: tokens of prompt and answer of the calls without a slot, in the order of their turns.
    """

    reading: list[tuple[float, float]]
    writing: list[float]
    waiting: list[tuple[float, float]]


class Server:
    """A server with continuous batching.

    Args:
        candidate: what it can do.
        calendar: virtual time.

    Attributes:
        running: streams in slots.
        counted: since the start.
        fault: what is wrong with it now.
    """

    def __init__(self, candidate: Candidate, calendar: Calendar) -> None:
        self.candidate = candidate
        self.running = 0
        self.counted = Counters()
        self.fault = Fault.NONE
        self._calendar = calendar
        self._waiting: deque[Call] = deque()
        self._calls: set[Call] = set()
        self._stalled: list[Call] = []  # read their prompt while nothing moves
        # All streams advance alike, so one clock in tokens serves them all: a stream ends when the clock has
        # advanced by its tokens. Its speed depends on how many run.
        self._clock, self._since = 0.0, 0.0
        self._writing: list[tuple[float, int, Call]] = []
        self._numbers, self._version = count(), 0
        self._allowance, self._allowed_at = candidate.limit_per_s * BURST_S, 0.0

    @property
    def waiting(self) -> int:
        """Calls without a slot."""
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        """Calls in slots and in the queue."""
        return self.running + len(self._waiting)

    def submit(self, call: Call) -> None:
        """Takes a call; its end comes later, never within this method."""
        call.sent = self._calendar.now
        if self.fault is Fault.ERRORS:
            self._calendar.after(REFUSAL_S, lambda: self._end(call, End.SERVER))
        elif self.fault is Fault.RATE_LIMIT or not self._within_limit():
            call.retry_after_s = RETRY_AFTER_S
            self._calendar.after(REFUSAL_S, lambda: self._end(call, End.RATE_LIMITED))
        else:
            self._calls.add(call)
            self._waiting.append(call)
            self._admit()

    def give_up(self, call: Call) -> None:
        """The caller no longer waits for the first token; a call whose first token has come goes on."""
        if call not in self._calls or call.first_token == call.first_token:
            return
        self._calls.discard(call)
        if call in self._waiting:
            self._waiting.remove(call)
        else:
            if call in self._stalled:
                self._stalled.remove(call)
            self._occupy(-1)
        self._end(call, End.TIMEOUT)
        self._admit()

    def break_down(self, fault: Fault) -> None:
        """From now on, this is wrong; NONE mends everything."""
        self._advance()
        self.fault = fault
        if fault is Fault.ERRORS:
            broken = sorted(self._calls, key=lambda call: call.sent)
            self._waiting.clear()
            self._writing.clear()
            self._stalled.clear()
            self._calls.clear()
            self._occupy(-self.running)
            for call in broken:
                self._end(call, End.SERVER)
        if fault is Fault.NONE:
            stalled, self._stalled = self._stalled, []
            for call in stalled:
                self._begin_writing(call)
        self._schedule()
        self._admit()

    def limits(self) -> dict[str, str]:
        """A provider's rate-limit headers as they stand now, in the spelling of OpenAI's API; none if self-hosted."""
        if not self.candidate.hosted:
            return {}
        self._refill()
        limit = self.candidate.limit_per_s
        missing_s = BURST_S - self._allowance / limit
        return {
            "x-ratelimit-limit-requests": str(round(limit * BURST_S)),
            "x-ratelimit-remaining-requests": str(int(self._allowance)),
            "x-ratelimit-reset-requests": f"{missing_s:.3f}s",
        }

    def state(self) -> State:
        """What is left to do at this moment, if nothing is wrong with the server."""
        self._advance()
        now, candidate = self._calendar.now, self.candidate
        slotted = (call for call in self._calls if call.admitted == call.admitted)
        return State(
            [
                (call.admitted + candidate.prefill_s(call.prompt_tokens) - now, call.tokens)
                for call in slotted
                if call.first_token != call.first_token
            ],
            [max(0.0, end - self._clock) for end, _, _ in self._writing],
            [(call.prompt_tokens, call.tokens) for call in self._waiting],
        )

    def free(self) -> list[tuple[float, float]]:
        """Stretches of virtual time in which a slot was free; one may last until now."""
        found: list[tuple[float, float]] = []
        since: float | None = 0.0
        for time, full in self.counted.full:
            if full and since is not None:
                found += [(since, time)] if time > since else []
                since = None
            elif not full:
                since = time
        return found if since is None else [*found, (since, self._calendar.now)]

    def queued(self, more_than: float) -> list[tuple[float, float]]:
        """Stretches of virtual time in which more calls than that waited for a slot; one may last until now."""
        found: list[tuple[float, float]] = []
        since: float | None = None
        for time, waiting in self.counted.queue:
            if waiting > more_than and since is None:
                since = time
            elif waiting <= more_than and since is not None:
                found += [(since, time)] if time > since else []
                since = None
        return found if since is None else [*found, (since, self._calendar.now)]

    def _admit(self) -> None:
        while self._waiting and self.running < self.candidate.slots and self.fault is not Fault.HANG:
            call = self._waiting.popleft()
            call.admitted = self._calendar.now
            self._occupy(+1)
            self._calendar.after(self.candidate.prefill_s(call.prompt_tokens), lambda call=call: self._read(call))  # type: ignore[misc]
        self._note_queue()

    def _read(self, call: Call) -> None:
        if call not in self._calls:
            return
        if self.fault is Fault.HANG:
            self._stalled.append(call)
        else:
            self._begin_writing(call)

    def _begin_writing(self, call: Call) -> None:
        self._advance()
        call.first_token = self._calendar.now
        self.counted.first_tokens += 1
        self.counted.first_token_s += call.first_token - call.sent
        heapq.heappush(self._writing, (self._clock + call.tokens, next(self._numbers), call))
        self._schedule()

    def _occupy(self, change: int) -> None:
        self._advance()
        self.running += change
        full = self.running >= self.candidate.slots
        if full != (self.counted.full[-1][1] if self.counted.full else False):
            self.counted.full.append((self._calendar.now, full))
        self._schedule()

    def _advance(self) -> None:
        now = self._calendar.now
        if self.fault is not Fault.HANG:
            self._clock += (now - self._since) / self.candidate.token_s_at(max(1, self.running))
        self._since = now

    def _schedule(self) -> None:
        """Enters when the next stream ends, as things stand; what was entered before no longer holds."""
        self._version += 1
        if not self._writing or self.fault is Fault.HANG:
            return
        left = max(0.0, self._writing[0][0] - self._clock)
        version = self._version
        self._calendar.after(left * self.candidate.token_s_at(self.running), lambda: self._complete(version))

    def _complete(self, version: int) -> None:
        if version != self._version:
            return
        self._advance()
        end, _, call = heapq.heappop(self._writing)
        self._clock = end  # not what rounding made of it
        self._calls.discard(call)
        self.counted.answered += 1
        self.counted.prompt_tokens += call.prompt_tokens
        self.counted.tokens += call.tokens
        self.counted.token_s += self._calendar.now - call.first_token
        self._occupy(-1)
        self._end(call, End.ANSWERED)
        self._admit()

    def _end(self, call: Call, end: End) -> None:
        call.done, call.end = self._calendar.now, end
        call.ended(call)

    def _note_queue(self) -> None:
        queue = self.counted.queue
        if len(self._waiting) != (queue[-1][1] if queue else 0):
            queue.append((self._calendar.now, len(self._waiting)))

    def _refill(self) -> None:
        now, limit = self._calendar.now, self.candidate.limit_per_s
        self._allowance = min(limit * BURST_S, self._allowance + limit * (now - self._allowed_at))
        self._allowed_at = now

    def _within_limit(self) -> bool:
        if not self.candidate.limit_per_s < float("inf"):
            return True
        self._refill()
        if self._allowance < 1.0:
            return False
        self._allowance -= 1.0
        return True
