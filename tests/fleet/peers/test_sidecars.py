"""Two whole sidecars, and a server that is killed in the midst."""

import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from sidecar.wire import fleet_pb2 as pb
from sidecar.wire import fleet_pb2_grpc, router_pb2
from tests.faults.sidecars import Sidecar, until
from tests.fleet.peers.real_server import RealServer, needs_server
from tests.waiting import PATIENCE_S

pytestmark = [needs_server, pytest.mark.slow]

CONFIG = """
workers = 1
metrics = "{metrics}"
[fleet]
min_expiry_seconds = 600
[fleet.peers]
url = "{url}"
interval_ms = 50
forget_seconds = 1
[[candidates]]
name = "small"
[[candidates]]
name = "large"
"""


def scraped(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=PATIENCE_S) as reply:
        return str(reply.read().decode())


def in_flight(sidecar: Sidecar) -> float:
    stub: Any = fleet_pb2_grpc.FleetServiceStub(sidecar.channel)  # type: ignore[no-untyped-call]
    reply = stub.Fleet(pb.FleetRequest(), timeout=PATIENCE_S)
    return float(sum(candidate.in_flight for candidate in reply.candidates))


def test_whole_sidecars_count_each_others_calls_while_the_server_is_there(
    tmp_path: Path, real_server: RealServer, tiny_bundle: Path, unused_tcp_port_factory: Any
) -> None:
    with ExitStack() as ending:
        sidecars, metrics = [], []
        for at in range(2):
            metrics.append(f"127.0.0.1:{unused_tcp_port_factory()}")
            path = tmp_path / f"{at}.toml"
            path.write_text(CONFIG.format(metrics=metrics[at], url=real_server.url))
            sidecars.append(Sidecar(path, "--bundle", str(tiny_bundle)))
            ending.callback(sidecars[at].close)
        one, two = sidecars
        until(lambda: "router_peers 1.0" in scraped(metrics[0]))
        for sidecar, calls in ((one, 5), (two, 1)):
            for _ in range(calls):
                sidecar.route.Route(router_pb2.RouteRequest(text="hello"), timeout=PATIENCE_S)
        until(lambda: in_flight(one) == in_flight(two) == 6.0)
        real_server.stop()
        two.said("each sidecar goes by itself until it is back")
        until(lambda: in_flight(two) == 1.0)
        began = time.monotonic()
        two.route.Route(router_pb2.RouteRequest(text="hello"), timeout=PATIENCE_S)
        assert time.monotonic() - began < PATIENCE_S
        until(lambda: in_flight(one) == 5.0)
        until(lambda: "router_peers 0.0" in scraped(metrics[0]))
        until(lambda: 'router_peers_exchanges_total{outcome="failed"}' in scraped(metrics[1]))
        real_server.start()
        two.said("is back")
        until(lambda: in_flight(one) == in_flight(two) == 7.0)
        for sidecar in sidecars:
            sidecar.process.terminate()
            assert sidecar.end() == 0
            assert not [line for line in sidecar.lines if "Traceback" in line]
