import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from sidecar.errors import ConfigError
from sidecar.fleet.sources.engines import engines
from sidecar.fleet.sources.orca import OrcaListener
from sidecar.fleet.sources.settings import TelemetryConfig
from sidecar.fleet.telemetry import Telemetry
from sidecar.wire import orca_pb2_grpc as rpc
from sidecar.wire.orca_load_report_pb2 import OrcaLoadReport
from sidecar.wire.orca_pb2 import OrcaLoadReportRequest
from tests.waiting import PATIENCE_S, until


def report(waiting: float, **more: Any) -> OrcaLoadReport:
    return OrcaLoadReport(named_metrics={"num_requests_waiting": waiting}, **more)


class Reporter(rpc.OpenRcaServiceServicer):
    """A server that streams what a test puts into its queue; None ends the stream."""

    def __init__(self) -> None:
        self.reports: asyncio.Queue[OrcaLoadReport | None] = asyncio.Queue()
        self.asked: list[OrcaLoadReportRequest] = []
        self.metadata: list[dict[str, Any]] = []
        self.address = ""
        self._server: Any = None

    async def StreamCoreMetrics(  # noqa: N802 - gRPC's name
        self, request: OrcaLoadReportRequest, context: Any
    ) -> AsyncIterator[OrcaLoadReport]:
        self.asked.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        while (one := await self.reports.get()) is not None:
            yield one

    async def start(self, credentials: Any = None, address: str = "127.0.0.1:0", *, served: bool = True) -> None:
        self._server = grpc.aio.server()
        if served:
            rpc.add_OpenRcaServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        port = (
            self._server.add_secure_port(address, credentials)
            if credentials
            else self._server.add_insecure_port(address)
        )
        self.address = f"127.0.0.1:{port}"
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(None)


class Hearing:
    """A listener at work, and what it published."""

    def __init__(self, *addresses: str, **telemetry: Any) -> None:
        self.published: asyncio.Queue[Telemetry] = asyncio.Queue()
        self.listener = OrcaListener(
            "small",
            TelemetryConfig(orca=addresses, **telemetry),
            engines({})["orca"],
            lambda _candidate, observed: self.published.put_nowait(observed),
            unix=lambda: 1000.0,
            first_delay_s=0.01,
        )
        self.task = asyncio.ensure_future(self.listener.run())

    async def next(self) -> Telemetry:
        return await asyncio.wait_for(self.published.get(), PATIENCE_S)

    async def end(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


@pytest.fixture
async def reporters() -> AsyncIterator[Callable[..., Any]]:
    running: list[Reporter] = []

    async def start(*arguments: Any, **more: Any) -> Reporter:
        running.append(Reporter())
        await running[-1].start(*arguments, **more)
        return running[-1]

    yield start
    for reporter in running:
        await reporter.stop()


@pytest.fixture
async def hear() -> AsyncIterator[Callable[..., Hearing]]:
    running: list[Hearing] = []

    def start(*addresses: str, **telemetry: Any) -> Hearing:
        running.append(Hearing(*addresses, **telemetry))
        return running[-1]

    yield start
    for hearing in running:
        await hearing.end()


async def test_each_report_is_an_observation(reporters: Any, hear: Any) -> None:
    server = await reporters()
    hearing = hear(server.address, interval_seconds=0.25, headers={"X-Scope": "router"})
    await server.reports.put(report(3.0, eps=0.5))
    seen = await hearing.next()
    assert (seen.waiting, seen.errors_per_second, seen.observed_unix) == (3.0, 0.5, 1000.0)
    await server.reports.put(report(4.0))
    assert (await hearing.next()).waiting == 4.0
    assert server.asked[0].report_interval.ToMilliseconds() == 250
    assert server.metadata[0]["x-scope"] == "router"
    (tally,) = hearing.listener.tallies
    assert (tally.ok, tally.failed, tally.fault, tally.target) == (2, 0, "", server.address)


async def test_replicas_are_summed_and_one_whose_stream_is_down_is_left_out(reporters: Any, hear: Any) -> None:
    one, two = await reporters(), await reporters()
    hearing = hear(one.address, two.address)
    await one.reports.put(report(3.0))
    await hearing.next()
    await two.reports.put(report(4.0))
    assert (await hearing.next()).waiting == 7.0
    await two.reports.put(None)
    await until(lambda: hearing.listener.tallies[1].failed == 1)
    await one.reports.put(report(5.0))
    assert (await hearing.next()).waiting == 5.0


async def test_a_stream_that_ends_is_opened_again(reporters: Any, hear: Any) -> None:
    server = await reporters()
    hearing = hear(server.address)
    for waiting in (1.0, 2.0):
        await server.reports.put(report(waiting))
        assert (await hearing.next()).waiting == waiting
        await server.reports.put(None)
    await until(lambda: len(server.asked) == 3)


@pytest.mark.slow
async def test_a_server_that_comes_back_is_heard_again(reporters: Any, hear: Any) -> None:
    server = await reporters()
    hearing = hear(server.address)
    await server.reports.put(report(1.0))
    await hearing.next()
    await server.stop()
    await until(lambda: hearing.listener.tallies[0].failed >= 2)
    assert hearing.listener.tallies[0].fault
    again = await reporters(None, server.address)
    await again.reports.put(report(2.0))
    assert (await hearing.next()).waiting == 2.0
    assert not hearing.listener.tallies[0].fault


async def test_a_server_without_the_service_is_named_as_such(reporters: Any, hear: Any) -> None:
    server = await reporters(served=False)
    hearing = hear(server.address)
    await until(lambda: hearing.listener.tallies[0].failed >= 2)
    assert "serves no ORCA reports" in hearing.listener.tallies[0].fault
    assert hearing.published.empty()


async def test_reports_of_which_nothing_is_understood_are_no_observation(reporters: Any, hear: Any) -> None:
    server = await reporters()
    hearing = hear(server.address)
    await server.reports.put(OrcaLoadReport(named_metrics={"mystery": 1.0}))
    await until(lambda: hearing.listener.tallies[0].failed == 1)
    assert "fleet.engines.orca" in hearing.listener.tallies[0].fault
    await server.reports.put(report(1.0))
    assert (await hearing.next()).waiting == 1.0
    assert len(server.asked) == 1


async def test_a_stream_that_falls_silent_is_given_up(
    reporters: Any, hear: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.fleet.sources.orca.SILENT_S", 0.2)
    server = await reporters()
    hearing = hear(server.address, interval_seconds=0.02)
    await until(lambda: len(server.asked) == 2)
    assert hearing.listener.tallies[0].fault == "no report within 0.2 s"


async def test_over_tls_with_a_token(reporters: Any, hear: Any, tmp_path: Path) -> None:
    ca = trustme.CA()
    leaf = ca.issue_cert("127.0.0.1")
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    (tmp_path / "token").write_text("abc")
    pair = (leaf.private_key_pem.bytes(), leaf.cert_chain_pems[0].bytes())
    server = await reporters(grpc.ssl_server_credentials([pair]))
    hearing = hear(server.address, orca_tls=True, ca_file=str(tmp_path / "ca.pem"), token_file=str(tmp_path / "token"))
    await server.reports.put(report(1.0))
    assert (await hearing.next()).waiting == 1.0
    assert server.metadata[0]["authorization"] == "Bearer abc"


def test_authorities_that_cannot_be_read_are_refused_by_their_key(tmp_path: Path) -> None:
    config = TelemetryConfig(orca=("a:1",), orca_tls=True, ca_file=str(tmp_path / "none.pem"))
    with pytest.raises(ConfigError, match=r"candidates\.small\.telemetry\.ca_file: .*give a PEM file"):
        OrcaListener("small", config, engines({})["orca"], lambda *_: None)
