"""Both clients against a real gRPC server: what they report must be the same."""

import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest

from benchmarks.client import Client, Reply
from benchmarks.frames import FramesClient
from benchmarks.grpc_client import GrpcClient

METHOD = "/test.Echo/Echo"
LIMIT = 4 << 20

OK, INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNIMPLEMENTED, UNAVAILABLE = 0, 3, 8, 12, 14

Connect = Callable[[str, str, int], Client]


def echo(request: bytes, context: Any) -> bytes:
    if request.startswith(b"refuse"):
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "per cent % and umlaut \u00e4")
    return b"%d:" % len(request) + request[:5]


@pytest.fixture
def server() -> Iterator[tuple[grpc.Server, str]]:
    with futures.ThreadPoolExecutor(2) as pool:
        serving = grpc.server(pool, options=[("grpc.max_receive_message_length", LIMIT)])
        handler: Any = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
        serving.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handler),))
        address = f"127.0.0.1:{serving.add_insecure_port('127.0.0.1:0')}"
        serving.start()
        yield serving, address
        serving.stop(None).wait()


@pytest.fixture(params=[FramesClient, GrpcClient])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    made: list[Client] = []

    def connect(address: str, method: str = METHOD, connections: int = 1) -> Client:
        made.append(request.param(address, method, connections))
        return made[-1]

    yield connect
    for client in made:
        client.close()


def collect(client: Client, count: int) -> list[Reply]:
    replies: list[Reply] = []
    until = time.perf_counter() + 20.0
    while len(replies) < count:
        assert time.perf_counter() < until, f"{len(replies)} of {count} replies came"
        replies += client.wait(0.2)
    return sorted(replies)


def test_replies_and_refusals_come_back_under_their_keys(server: tuple[Any, str], connect: Connect) -> None:
    client = connect(server[1], METHOD, 3)
    for key in range(300):
        client.send(b"refuse" if key % 7 == 0 else b"%05d" % key, key)
    for key, reply in enumerate(collect(client, 300)):
        assert reply.key == key
        assert reply.status == (INVALID_ARGUMENT if key % 7 == 0 else OK)
        assert reply.body == (b"" if key % 7 == 0 else b"5:%05d" % key)


def test_messages_larger_than_every_window_arrive_whole(server: tuple[Any, str], connect: Connect) -> None:
    client = connect(server[1], METHOD, 1)
    sizes = [0, 16_000, 65_530, 65_536, 1_000_000, 3_000_000]
    for key, size in enumerate(sizes):
        client.send(b"x" * size, key)
    replies = collect(client, len(sizes))
    assert [int(reply.body.partition(b":")[0]) for reply in replies] == sizes


def test_a_message_over_the_limit_is_refused_and_harms_no_other(server: tuple[Any, str], connect: Connect) -> None:
    client = connect(server[1], METHOD, 1)
    client.send(b"x" * (LIMIT + 1), 0)
    client.send(b"after", 1)
    assert [reply.status for reply in collect(client, 2)] == [RESOURCE_EXHAUSTED, OK]
    client.send(b"x" * 2_000_000, 2)
    assert [reply.status for reply in collect(client, 1)] == [OK]


def test_an_unknown_method_is_unimplemented(server: tuple[Any, str], connect: Connect) -> None:
    client = connect(server[1], "/test.Echo/Nothing", 1)
    client.send(b"", 0)
    assert [reply.status for reply in collect(client, 1)] == [UNIMPLEMENTED]


def test_calls_to_a_server_that_went_away_are_unavailable(server: tuple[Any, str], connect: Connect) -> None:
    client = connect(server[1], METHOD, 2)
    client.send(b"hello", 0)
    assert collect(client, 1)[0].status == OK
    server[0].stop(None).wait()
    client.wait(0.2)
    client.send(b"hello", 1)
    assert [reply.status for reply in collect(client, 1)] == [UNAVAILABLE]
