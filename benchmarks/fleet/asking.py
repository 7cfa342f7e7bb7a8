"""The sidecar as the gateway meets it: Route before a call, ReportOutcome after it; over real gRPC."""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import grpc

from benchmarks.fleet.gateway import Journey
from benchmarks.fleet.servers import Call, End
from benchmarks.fleet.workload import Questions
from sidecar.lanes.services import ROUTE
from sidecar.service_config import CHANNEL_OPTIONS
from sidecar.wire import router_pb2 as pb

REPORT_OUTCOME = ROUTE.rpartition("/")[0] + "/ReportOutcome"
# What ends together is reported together: gateways do so to save calls, and the sidecar must take it.
GATHER_S, MOST_TOGETHER = 0.002, 64
CALL_S = 30.0
LAST_EVENTS_S = 1.0
ERRORS = {
    End.SERVER: pb.OUTCOME_ERROR_SERVER,
    End.RATE_LIMITED: pb.OUTCOME_ERROR_RATE_LIMITED,
    End.TIMEOUT: pb.OUTCOME_ERROR_TIMEOUT,
}
# As the project tells gateways to: a worker that is replaced costs a retry, not a request.
OPTIONS = (
    *CHANNEL_OPTIONS,
    ("grpc.use_local_subchannel_pool", 1),
)  # else all channels share one connection, and one worker


class Sidecar:
    """Channels to a sidecar; an asynchronous context.

    Args:
        address: HOST:PORT.
        channels: how many; with several workers each channel ends at one of them by chance.

    Attributes:
        deaf: why outcomes cannot be reported; empty while they can.
    """

    def __init__(self, address: str, channels: int = 1) -> None:
        self.deaf = ""
        self._channels = [grpc.aio.insecure_channel(address, options=OPTIONS) for _ in range(channels)]
        self._routes: list[Any] = [channel.unary_unary(ROUTE) for channel in self._channels]
        self._reports: list[Any] = [channel.unary_unary(REPORT_OUTCOME) for channel in self._channels]
        self._turn = 0

    async def route(self, payload: bytes) -> pb.RouteResponse:
        """One decision."""
        self._turn = (self._turn + 1) % len(self._routes)
        return pb.RouteResponse.FromString(await self._routes[self._turn](payload, timeout=CALL_S, wait_for_ready=True))

    async def report(self, outcomes: Sequence[pb.Outcome]) -> None:
        """Reports outcomes, unless the sidecar is one that hears none.

        Raises:
            grpc.aio.AioRpcError: they were refused.
        """
        if self.deaf:
            return
        self._turn = (self._turn + 1) % len(self._reports)
        payload = pb.ReportOutcomeRequest(outcomes=outcomes).SerializeToString()
        try:
            await self._reports[self._turn](payload, timeout=CALL_S, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise
            self.deaf = "this sidecar does not implement ReportOutcome"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for channel in self._channels:
            await channel.close()
        if error is not None:
            # What is still on its way must find a loop that reads it: grpc.aio's thread blocks on a full pipe, and then the
            # interpreter never ends.
            await asyncio.sleep(LAST_EVENTS_S)


class Routed:
    """Decisions of the sidecar.

    Args:
        sidecar: decides.
        payloads: by question, serialised RouteRequests.
        names: of the candidates, in the order of the questions' columns.
    """

    def __init__(self, sidecar: Sidecar, payloads: Sequence[bytes], names: Sequence[str]) -> None:
        self._sidecar = sidecar
        self._payloads = payloads
        self._index = {name: index for index, name in enumerate(names)}

    async def decide(self, journey: Journey) -> Sequence[int]:
        """See replay.Decider."""
        reply = await self._sidecar.route(self._payloads[journey.question])
        journey.decision_id = reply.decision_id
        journey.expected_s = reply.ranking[0].expected_seconds
        return [self._index[entry.candidate] for entry in reply.ranking]


class Reports:
    """Tells the sidecar what became of its decisions, some milliseconds' worth at a time.

    Args:
        sidecar: is told.
        names: of the candidates.
        speed: virtual seconds per real one; the sidecar lives in real ones.
        questions: for the recorded quality; None tells no quality.
    """

    def __init__(
        self,
        sidecar: Sidecar,
        names: Sequence[str],
        speed: float,
        questions: Questions | None = None,
    ) -> None:
        self._sidecar = sidecar
        self._names = names
        self._speed = speed
        self._questions = questions
        self._gathered: list[pb.Outcome] = []
        self._flusher: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[None]] = set()

    def heard(self, journey: Journey, candidate: int, call: Call, headers: dict[str, str] | None = None) -> None:
        """An attempt ended; called within the running loop.

        Raises:
            grpc.aio.AioRpcError: an earlier report was refused.
        """
        if self._sidecar.deaf or not journey.decision_id:
            return
        self._gathered.append(self.outcome(journey, candidate, call, headers or {}))
        if self._flusher is None or self._flusher.done():
            if self._flusher is not None:
                self._flusher.result()  # raises what it raised
            self._flusher = asyncio.ensure_future(self._flush_soon())

    def outcome(self, journey: Journey, candidate: int, call: Call, headers: dict[str, str]) -> pb.Outcome:
        """What is reported of an attempt: of the decided candidate by its decision, of another one by name too."""
        said = pb.Outcome(
            decision_id=journey.decision_id, key=f"attempt-{len(journey.attempts)}", source="gateway", headers=headers
        )
        if candidate != journey.chosen or headers:
            said.model = self._names[candidate]
        if call.end is not End.ANSWERED and call.end is not None:
            said.error = ERRORS[call.end]
            if call.retry_after_s:
                said.retry_after_ms = self._ms(call.retry_after_s)
            return said
        said.latency_ms = self._ms(call.done - call.sent)
        said.first_token_ms = self._ms(call.first_token - call.sent)
        said.input_tokens, said.output_tokens = round(call.prompt_tokens), round(call.tokens)
        if self._questions is not None:
            said.quality = float(self._questions.quality[journey.question, candidate])
            said.cost_usd = self._questions.cost_usd(journey.question, candidate)
        return said

    async def close(self) -> None:
        """Everything that was heard is told."""
        if self._flusher is not None:
            await self._flusher
        while self._sending:
            await asyncio.gather(*self._sending)

    def _ms(self, virtual_s: float) -> int:
        return max(1, round(virtual_s / self._speed * 1e3))

    async def _flush_soon(self) -> None:
        while self._gathered:  # also what is heard while others are on their way
            await asyncio.sleep(GATHER_S)
            gathered, self._gathered = self._gathered, []
            for start in range(0, len(gathered), MOST_TOGETHER):
                some = gathered[start : start + MOST_TOGETHER]
                task = asyncio.ensure_future(self._sidecar.report(some))
                self._sending.add(task)
                task.add_done_callback(self._sending.discard)
            # An error in a report must end the run, not vanish with its task.
            await asyncio.gather(*self._sending)


def payloads(
    questions: Questions, names: Sequence[str], policy: pb.Policy, *, segment: str = "simulated"
) -> list[bytes]:
    """A serialised RouteRequest for each question; candidates without a recorded answer are left out of `allow`."""
    made = []
    for index, text in enumerate(questions.texts):
        able = [name for name, known in zip(names, questions.answerable[index].tolist(), strict=True) if known]
        made.append(
            pb.RouteRequest(
                text=text,
                segment=segment,
                prompt_tokens=int(questions.prompt_tokens[index]),
                policy=policy,
                constraints=pb.Constraints(allow=able if len(able) < len(names) else []),
            ).SerializeToString()
        )
    return made
