"""A sidecar in little, over real gRPC: it sends each request to the candidate with the fewest in flight, as it reckons."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc

from sidecar.wire import router_pb2 as pb
from sidecar.wire import router_pb2_grpc as rpc


class FakeSidecar(rpc.RouterServiceServicer):
    """Knows the load from its own decisions and the outcomes that are reported.

    Args:
        names: of the candidates.
        hears: whether it implements ReportOutcome.
    """

    def __init__(self, names: Sequence[str], *, hears: bool = True) -> None:
        self.names = names
        self.asked: list[pb.RouteRequest] = []
        self.outcomes: list[pb.Outcome] = []
        self.in_flight = Counter[str]()
        self._chosen: dict[str, str] = {}
        self._hears = hears

    async def Route(self, request: pb.RouteRequest, _context: object) -> pb.RouteResponse:  # noqa: N802 - the contract's
        self.asked.append(request)
        able = list(request.constraints.allow) or list(self.names)
        ranking = sorted(able, key=lambda name: self.in_flight[name])
        decision = f"{len(self.asked):032x}"
        self.in_flight[ranking[0]] += 1
        self._chosen[decision] = ranking[0]
        return pb.RouteResponse(
            decision_id=decision,
            model=ranking[0],
            ranking=[pb.RankedCandidate(candidate=name, model=name) for name in ranking],
            reasons=[pb.REASON_LEARNED],
        )

    async def ReportOutcome(  # noqa: N802 - the contract's
        self, request: pb.ReportOutcomeRequest, context: "grpc.aio.ServicerContext[object, object]"
    ) -> pb.ReportOutcomeResponse:
        if not self._hears:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "not yet")
        for outcome in request.outcomes:
            self.outcomes.append(outcome)
            if released := self._chosen.pop(outcome.decision_id, ""):
                self.in_flight[released] -= 1
        return pb.ReportOutcomeResponse(accepted=len(request.outcomes))


@asynccontextmanager
async def serving(fake: FakeSidecar) -> AsyncIterator[str]:
    """Its address while it serves."""
    server = grpc.aio.server()
    rpc.add_RouterServiceServicer_to_server(fake, server)  # type: ignore[no-untyped-call]  # generated
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
