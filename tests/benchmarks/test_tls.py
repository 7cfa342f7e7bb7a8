from pathlib import Path

from benchmarks.h2load import grpc_shot
from benchmarks.server import Server, sidecar_command
from benchmarks.tls import check_status, secure_shot, secured
from sidecar.lanes.services import ROUTE
from sidecar.wire import router_pb2 as pb


def test_a_sidecar_with_the_made_certificate_answers_over_tls(tmp_path: Path, tiny_bundle: Path) -> None:
    made = secured(tmp_path)
    with Server(sidecar_command(tiny_bundle, config=made.config), None, authority=made.authority) as server:
        check_status(server.address, ROUTE, pb.RouteRequest(text="hello").SerializeToString(), made.authority)


def test_a_shot_over_tls_differs_in_its_scheme_only() -> None:
    plain, secure = grpc_shot("127.0.0.1:1", ROUTE, b"x"), secure_shot("127.0.0.1:1", ROUTE, b"x")
    assert secure.url == plain.url.replace("http:", "https:")
    assert (secure.body, secure.arguments) == (plain.body, plain.arguments)
