"""Runs a workload through a gateway: at once in virtual time, or beside a real sidecar as fast as the clock allows."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol

from benchmarks.fleet.gateway import Gateway, Journey
from benchmarks.fleet.policies import Policy
from benchmarks.fleet.workload import Workload

# The loop looks at the calendar at least this often, in real seconds.
LONGEST_REST_S = 0.05
# How long a run may go on in real seconds after the last arrival; in overload the queues take that long to empty.
GIVE_UP_S = 120.0

Clock = Callable[[], float]
Rest = Callable[[asyncio.Event, float], Awaitable[None]]


class Decider(Protocol):
    """Decides over a wire, so that the decision takes real time."""

    async def decide(self, journey: Journey) -> Sequence[int]:
        """Candidates in the order in which they are to be tried; may write on the journey what it knows beside that."""
        ...


def at_once(workload: Workload, gateway: Gateway, policy: Policy) -> list[Journey]:
    """The whole run in virtual time: exact, and the same whenever it is run.

    Returns:
        The journeys in the order of their arrivals.
    """
    journeys = _journeys(workload)
    for journey in journeys:
        gateway.calendar.at(
            journey.arrived,
            lambda journey=journey: gateway.begin(journey, policy.rank(journey.question, gateway)),  # type: ignore[misc]
        )
    gateway.calendar.run()
    return journeys


class Paced:
    """Virtual time at a multiple of real time.

    What happens in the servers happens at its exact virtual time, however late this process looks; what the sidecar does
    takes as long as it takes, times the multiple. So a slow machine makes the sidecar look worse, never better.

    Args:
        gateway: where requests go.
        speed: virtual seconds per real one.
        clock: real seconds.
        rest: waits for an event, at most so many real seconds.
    """

    def __init__(
        self, gateway: Gateway, speed: float, clock: Clock = time.perf_counter, rest: Rest | None = None
    ) -> None:
        self._gateway = gateway
        self._speed = speed
        self._clock = clock
        self._rest = rest or _wait
        self._start = clock()
        self._awake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None

    def virtual_now(self) -> float:
        """Virtual seconds since the start."""
        return (self._clock() - self._start) * self._speed

    async def run(
        self,
        workload: Workload,
        decider: Decider,
        idle: Callable[[], Awaitable[None]] | None = None,
        *,
        give_up_s: float = GIVE_UP_S,
    ) -> list[Journey]:
        """The journeys in the order of their arrivals.

        Args:
            workload: what comes.
            decider: who decides.
            idle: awaited once after the last journey (for reports on their way).
            give_up_s: real seconds after the last arrival.

        Raises:
            TimeoutError: not all journeys ended; the message says how many.
            Exception: what the decider raised.
        """
        journeys = _journeys(workload)
        calendar = self._gateway.calendar
        for journey in journeys:
            calendar.at(journey.arrived, lambda journey=journey: self._arrive(journey, decider))  # type: ignore[misc]
        try:
            await self._until_all_ended(journeys, workload, give_up_s)
        finally:
            # Calls that are left behind would outlive the loop that waits for them, and grpc.aio hangs at exit on many such.
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if idle is not None:
            await idle()
        return journeys

    async def _until_all_ended(self, journeys: Sequence[Journey], workload: Workload, give_up_s: float) -> None:
        calendar = self._gateway.calendar
        self._start = self._clock()
        until = workload.arrivals[-1] / self._speed + give_up_s
        while len(self._gateway.ended) < len(journeys):
            self._awake.clear()
            calendar.run(self.virtual_now())
            if self._failure is not None:
                raise self._failure
            rest = (calendar.next_time - self.virtual_now()) / self._speed
            await self._rest(self._awake, min(max(rest, 0.0), LONGEST_REST_S))
            if self._clock() - self._start > until:
                left = len(journeys) - len(self._gateway.ended)
                raise TimeoutError(
                    f"{left} of {len(journeys)} requests have no end {give_up_s:g} s after the last came."
                )

    def _arrive(self, journey: Journey, decider: Decider) -> None:
        task = asyncio.ensure_future(self._decide(journey, decider))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _decide(self, journey: Journey, decider: Decider) -> None:
        try:
            ranking = await decider.decide(journey)
            self._gateway.calendar.run(self.virtual_now())
            self._gateway.begin(journey, ranking)
        except Exception as failure:  # noqa: BLE001 - the run ends with it
            self._failure = failure
        self._awake.set()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)


def _journeys(workload: Workload) -> list[Journey]:
    return [
        Journey(question, arrived)
        for question, arrived in zip(workload.questions.tolist(), workload.arrivals.tolist(), strict=True)
    ]
