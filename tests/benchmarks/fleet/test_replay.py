import asyncio
import math
from collections.abc import Callable, Sequence

import pytest

from benchmarks.fleet.calendar import Calendar
from benchmarks.fleet.candidates import Candidate
from benchmarks.fleet.gateway import Gateway, Journey
from benchmarks.fleet.policies import Recorded
from benchmarks.fleet.replay import GIVE_UP_S, Paced, at_once
from benchmarks.fleet.workload import Questions, Workload

Make = Callable[..., Workload]
SPEED = 20.0


class Clock:
    """Real seconds that pass only while the loop gives others a turn: a fortieth of a virtual second each time."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def passes(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:  # noqa: ASYNC110 - the clock passes in such turns
            await asyncio.sleep(0)

    async def rest(self, event: asyncio.Event, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until and not event.is_set():  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)


async def ticking(clock: Clock) -> None:
    while True:
        await asyncio.sleep(0)
        clock.now += 0.025 / SPEED


class Slow:
    """Decides after so many real seconds."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock, self._seconds = clock, seconds

    async def decide(self, journey: Journey) -> Sequence[int]:
        await self._clock.passes(self._seconds)
        return [journey.question % 2]


def run(gateway: Gateway, asked: Workload, seconds: float, give_up_s: float = GIVE_UP_S) -> list[Journey]:
    async def paced() -> list[Journey]:
        clock = Clock()
        ticker = asyncio.ensure_future(ticking(clock))
        try:
            return await Paced(gateway, SPEED, clock, clock.rest).run(asked, Slow(clock, seconds), give_up_s=give_up_s)
        finally:
            ticker.cancel()

    return asyncio.run(paced())


def test_decisions_take_real_time_and_servers_exact_virtual_time(
    fleet: list[Candidate], questions: Questions, workload: Make
) -> None:
    gateway = Gateway(fleet, questions, Calendar())
    journeys = run(gateway, workload(0.0, 1.0, 2.0, 3.0), 0.01)
    for journey in journeys:
        assert journey.decided - journey.arrived == pytest.approx(0.01 * SPEED, abs=0.15)
        call = journey.attempts[0]
        assert call.done - call.sent == pytest.approx(float(questions.tokens[journey.question, journey.chosen]))


def test_with_decisions_that_take_no_time_it_is_the_run_at_once(
    fleet: list[Candidate], questions: Questions, workload: Make
) -> None:
    asked = workload(*[0.3 * number for number in range(20)])
    paced = run(Gateway(fleet, questions, Calendar()), asked, 0.0)
    exact = at_once(asked, Gateway(fleet, questions, Calendar()), Recorded([[question % 2] for question in range(4)]))
    assert [one.done for one in paced] == pytest.approx([one.done for one in exact], abs=0.3)
    assert [one.answered_by for one in paced] == [one.answered_by for one in exact]


def test_what_the_decider_raises_ends_the_run(fleet: list[Candidate], questions: Questions, workload: Make) -> None:
    class Broken:
        async def decide(self, journey: Journey) -> Sequence[int]:
            raise ConnectionError(f"no sidecar for {journey.question}")

    with pytest.raises(ConnectionError, match="no sidecar"):
        asyncio.run(Paced(Gateway(fleet, questions, Calendar()), SPEED).run(workload(0.0), Broken()))


def test_requests_that_never_end_are_told(fleet: list[Candidate], questions: Questions, workload: Make) -> None:
    with pytest.raises(TimeoutError, match="1 of 1 requests"):
        run(Gateway(fleet, questions, Calendar()), workload(0.0), math.inf, give_up_s=0.1)
