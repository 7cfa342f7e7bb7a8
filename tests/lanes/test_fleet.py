"""FleetService, on both lanes over real connections."""

import json
from collections.abc import Callable, Iterator
from math import nan
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from click.testing import CliRunner

from sidecar.cli import main
from sidecar.config import CandidateConfig, Config
from sidecar.door.tokens import Role, mint
from sidecar.fleet.sources.engines import engines
from sidecar.fleet.telemetry import Telemetry
from sidecar.lanes.fleet import FIGURES, FleetMethods
from sidecar.server import Server
from sidecar.wire import fleet_pb2 as pb
from sidecar.wire import fleet_pb2_grpc as rpc
from sidecar.wire.orca_load_report_pb2 import OrcaLoadReport
from tests.lanes.conftest import TRANSPORTS

NOW = 1_790_000_000.0
REPORT = pb.LoadReport(named_metrics={"num_requests_waiting": 4.0, "kv_cache_usage_perc": 0.5})


class Shown(NamedTuple):
    """As the fleet's figures are."""

    name: str
    state: str = "closed"
    share: float = nan
    in_flight: float = nan
    kv_used: float = nan
    seconds_per_token: float = nan
    recovery_seconds: float = 0.0


ROWS = (
    Shown("small-2026", "slow_start", 0.25, 3.0, 0.5, 0.0125),
    Shown("large", "half_open", recovery_seconds=1.5),
)


class Fleet:
    """A sidecar with FleetService.

    Attributes:
        published: what was reported to it.
        rows: what it shows.
    """

    def __init__(self, transport: str, bundle: Path, **settings: Any) -> None:
        self.published: list[tuple[str, Telemetry]] = []
        self.rows: list[Shown] = list(ROWS)
        methods = FleetMethods(
            engines({})["orca"],
            self._known,
            lambda name, seen: self.published.append((name, seen)),
            lambda: self.rows,
            unix=lambda: NOW,
        )
        config = Config(
            transport=transport,  # type: ignore[arg-type]
            bundle=str(bundle),
            listen="127.0.0.1:0",
            candidates=(
                CandidateConfig(name="small", model="small-2026", aliases=("s",)),
                CandidateConfig(name="large"),
            ),
            **settings,
        ).checked()
        self.server = Server(config, cold=methods.cold)
        self.address = self.server.start()
        self.channel = grpc.insecure_channel(self.address)
        self.stub: Any = rpc.FleetServiceStub(self.channel)  # type: ignore[no-untyped-call]

    def _known(self, name: str) -> str:
        table = self.server.services.engine.table
        return table.rows[table.index(name, "candidate")].name

    def report(self, request: Any, **more: Any) -> pb.ReportLoadResponse:
        reply: pb.ReportLoadResponse = self.stub.ReportLoad(request, timeout=30, **more)
        return reply

    def close(self) -> None:
        self.channel.close()
        self.server.drain()


@pytest.fixture
def start(transport: str, tiny_bundle: Path) -> Iterator[Callable[..., Fleet]]:
    running: list[Fleet] = []

    def start(**settings: Any) -> Fleet:
        running.append(Fleet(transport, tiny_bundle, **settings))
        return running[-1]

    yield start
    for fleet in running:
        fleet.close()


@pytest.fixture
def fleet(start: Callable[..., Fleet]) -> Fleet:
    return start()


@pytest.mark.parametrize("name", ["small", "small-2026", "s"])
def test_a_load_report_is_published_under_the_candidates_name(fleet: Fleet, name: str) -> None:
    reply = fleet.report(pb.ReportLoadRequest(candidate=name, report=REPORT))
    assert list(reply.understood) == ["waiting", "kv_used"]
    ((candidate, seen),) = fleet.published
    assert (candidate, seen.waiting, seen.kv_used, seen.observed_unix) == ("small", 4.0, 0.5, NOW)


def test_the_bytes_of_an_orca_report_will_do(fleet: Fleet) -> None:
    orca = OrcaLoadReport(eps=2.0).SerializeToString()
    fleet.report(pb.ReportLoadRequest(candidate="small", report=pb.LoadReport.FromString(orca)))
    assert fleet.published[0][1].errors_per_second == 2.0


def test_a_report_of_which_nothing_is_understood_says_so_and_is_not_published(fleet: Fleet) -> None:
    reply = fleet.report(pb.ReportLoadRequest(candidate="small", report=pb.LoadReport(named_metrics={"x": 1.0})))
    assert list(reply.understood) == []
    assert fleet.published == []


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (pb.ReportLoadRequest(report=REPORT), "candidate: is empty"),
        (pb.ReportLoadRequest(candidate="small"), "report: is missing"),
        (pb.ReportLoadRequest(candidate="huge", report=REPORT), "candidate: no candidate is called 'huge'; known are"),
        (pb.ReportLoadRequest(candidate="small", report=pb.LoadReport(eps=nan)), "report.eps: is nan"),
        (
            pb.ReportLoadRequest(candidate="small", report=pb.LoadReport(named_metrics={"x": -1.0})),
            "report.named_metrics['x']: is -1",
        ),
    ],
)
def test_a_wrong_report_is_refused_by_its_field(fleet: Fleet, request_: pb.ReportLoadRequest, words: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        fleet.report(request_)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert words in str(caught.value.details())
    assert fleet.published == []


@pytest.mark.parametrize("method", ["ReportLoad", "Fleet"])
def test_malformed_bytes_are_an_invalid_request(fleet: Fleet, method: str) -> None:
    ask: Any = fleet.channel.unary_unary(f"/router.v1.FleetService/{method}")
    with pytest.raises(grpc.RpcError) as caught:
        ask(b"\xff", timeout=30)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_the_live_state_is_shown_and_what_is_unknown_is_absent(fleet: Fleet) -> None:
    reply = fleet.stub.Fleet(pb.FleetRequest(), timeout=30)
    small, large = reply.candidates
    assert (small.candidate, small.state) == ("small-2026", pb.CANDIDATE_STATE_SLOW_START)
    assert (small.share, small.in_flight, small.kv_used, small.seconds_per_token) == (0.25, 3.0, 0.5, 0.0125)
    assert large.state == pb.CANDIDATE_STATE_HALF_OPEN
    assert not large.HasField("in_flight")
    assert large.HasField("recovery_seconds")
    assert reply.time.seconds == NOW


def test_reports_need_their_role_and_a_look_that_of_a_gateway(start: Callable[..., Fleet], tmp_path: Path) -> None:
    minted = {role: mint(role.value, [role]) for role in Role}
    file = tmp_path / "tokens.toml"
    file.write_text("\n".join(one.lines for one in minted.values()))
    fleet = start(tokens=str(file))

    def code(role: Role | None, method: str, request: Any) -> grpc.StatusCode:
        metadata = (("authorization", f"Bearer {minted[role].token}"),) if role else ()
        try:
            getattr(fleet.stub, method)(request, timeout=30, metadata=metadata)
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    report, look = pb.ReportLoadRequest(candidate="small", report=REPORT), pb.FleetRequest()
    assert code(None, "ReportLoad", report) is grpc.StatusCode.UNAUTHENTICATED
    assert code(Role.ROUTE, "ReportLoad", report) is grpc.StatusCode.PERMISSION_DENIED
    assert code(Role.REPORT, "ReportLoad", report) is grpc.StatusCode.OK
    assert code(Role.REPORT, "Fleet", look) is grpc.StatusCode.PERMISSION_DENIED
    assert code(Role.ROUTE, "Fleet", look) is grpc.StatusCode.OK


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def one(tiny_bundle: Path) -> Iterator[Fleet]:
    fleet = Fleet(TRANSPORTS[0], tiny_bundle)
    yield fleet
    fleet.close()


def test_the_command_prints_a_table(one: Fleet) -> None:
    result = CliRunner().invoke(main, ["fleet", "--target", one.address])
    assert result.exit_code == 0, result.output
    heading, _, small, large = result.output.splitlines()[2:]
    assert heading.split()[:2] == ["candidate", "state"]
    assert small.split() == [
        "small-2026",
        "slow",
        "start",
        "25%",
        "3",
        "-",
        "-",
        "-",
        "50%",
        "-",
        "-",
        "-",
        "12.5",
        "-",
        "-",
        "-",
    ]
    assert large.split()[:4] == ["large", "half", "open", "-"]
    assert large.endswith("1.5")


def test_the_command_prints_json(one: Fleet) -> None:
    result = CliRunner().invoke(main, ["fleet", "--target", one.address, "--json"])
    assert json.loads(result.output)["candidates"][0]["kv_used"] == 0.5


def test_the_command_watches_until_it_is_interrupted(one: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", nap)
    result = CliRunner().invoke(main, ["fleet", "--target", one.address, "--watch", "--json"])
    assert result.output.count('"candidates"') == 3
    assert naps == [1.0] * 3


def test_the_fleets_figures_all_have_a_place() -> None:
    assert set(Shown._fields) - {"name", "state"} <= FIGURES
