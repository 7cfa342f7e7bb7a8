"""Ten thousand malformed calls, frames and connections against a running sidecar: the others must not notice."""

import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.client import CODES, OK
from benchmarks.frames import FramesClient
from benchmarks.server import Server, sidecar_command
from sidecar.lanes.services import ROUTE, ROUTE_BATCH
from sidecar.wire import router_pb2 as pb
from sidecar.wire import router_pb2_grpc as rpc
from tests.fuzz.seeds import seeds
from tests.fuzz.target import target_of
from tests.lanes.rude import ATTACKS, MARK, PROMPT, Rude, performed

PIECES = 10_000
SEED = 20_261_124
# Of a process of about 100 MB; what a transport keeps for its connections, and what the allocator keeps for later.
MOST_GROWTH_MB = 60.0
GOOD = pb.RouteRequest(text=f"prove the theorem about the manifold {MARK}", policy=pb.Policy(answer_value_usd=1.0))
# What a caller may be told whose message was broken on its way.
MAY_ANSWER = {OK, *map(CODES.index, ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED"))}
IN_FLIGHT = 50


class Neighbour:
    """A well-behaved client on a connection of its own."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address)
        self.stub: Any = rpc.RouterServiceStub(self.channel)  # type: ignore[no-untyped-call]
        self.expected = self._ask()
        assert self.expected.model == "large"

    def _ask(self) -> Any:
        reply = self.stub.Route(GOOD, timeout=10)
        for field in ("decision_id", "timings"):
            reply.ClearField(field)
        return reply

    def is_served(self) -> None:
        assert self._ask() == self.expected

    def is_served_by_every_method(self) -> None:
        self.is_served()
        batch = self.stub.RouteBatch(pb.RouteBatchRequest(requests=[GOOD] * 40), timeout=10)
        assert [result.response.model for result in batch.results] == ["large"] * 40
        stream = self.stub.RouteStream(iter([pb.RouteStreamRequest(sequence=7, request=GOOD)] * 3), timeout=10)
        assert [reply.result.response.model for reply in stream] == ["large"] * 3
        assert self.stub.Info(pb.InfoRequest(), timeout=10).degraded == ""
        health = health_pb2_grpc.HealthStub(self.channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert health.status == health_pb2.HealthCheckResponse.SERVING


def broken_messages(chance: random.Random, amount: int) -> dict[str, list[bytes]]:
    """Truncated, with bits flipped, and the fuzzer's seeds, by method."""
    kinds = {pb.RouteRequest: ROUTE, pb.RouteBatchRequest: ROUTE_BATCH}
    sound = {ROUTE: [PROMPT], ROUTE_BATCH: [pb.RouteBatchRequest(requests=[GOOD] * 3).SerializeToString()]}
    for data in seeds():
        if method := kinds.get(target_of(data)):
            sound[method].append(data[1:])
    made: dict[str, list[bytes]] = {ROUTE: [], ROUTE_BATCH: []}
    for number in range(amount):
        method = (ROUTE, ROUTE, ROUTE_BATCH)[number % 3]
        whole = bytearray(chance.choice(sound[method]))
        for _ in range(chance.randint(0, 4) if whole else 0):
            whole[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        made[method].append(bytes(whole[: chance.randint(0, len(whole))] if chance.random() < 0.5 else whole))
    return made


def statuses(address: str, method: str, payloads: list[bytes]) -> Iterator[int]:
    """What broken messages are told; every one is told something."""
    client = FramesClient(address, method, 2, deadline_s=10.0)
    try:
        for start in range(0, len(payloads), IN_FLIGHT):
            some = payloads[start : start + IN_FLIGHT]
            for key, payload in enumerate(some):
                client.send(payload, key)
            left = len(some)
            while left:
                for reply in client.wait(10.0):
                    left -= 1
                    yield reply.status
    finally:
        client.close()


@pytest.mark.slow
def test_ten_thousand_malformed_things_harm_nobody_else(transport: str, tiny_bundle: Path) -> None:
    chance = random.Random(SEED)
    sent = 0
    held: list[Rude] = []
    with Server(sidecar_command(tiny_bundle, transport), None, kept_lines=100_000) as server, ExitStack() as stack:
        neighbour = Neighbour(server.address)
        stack.callback(neighbour.channel.close)
        before = server.resident_mb()
        for attack in ATTACKS:
            for pieces in performed(server.address, attack, chance, held):
                sent += pieces
                if sent % 7 == 0:
                    neighbour.is_served()
            neighbour.is_served()
        told: set[int] = set()
        for method, payloads in broken_messages(chance, PIECES - sent).items():
            told.update(statuses(server.address, method, payloads))
            sent += len(payloads)
        assert told <= MAY_ANSWER
        assert {OK, CODES.index("INVALID_ARGUMENT")} <= told
        assert sent == PIECES
        neighbour.is_served_by_every_method()
        assert server.resident_mb() - before < MOST_GROWTH_MB
        for peer in held:
            peer.socket.close()
        said = server.output()
    assert not [line for line in said if MARK in line]
    assert not [line for line in said if "Traceback" in line or " ERROR " in line or "Exception in thread" in line]
