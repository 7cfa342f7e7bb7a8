"""Listens to the ORCA load reports that a candidate's servers stream (out of band, gRFC A51)."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc

from sidecar.errors import ConfigError
from sidecar.fleet.sources.bearer import headers_of
from sidecar.fleet.sources.engines import Engine
from sidecar.fleet.sources.load_report import samples_of, understood
from sidecar.fleet.sources.prometheus import Publish
from sidecar.fleet.sources.reading import Replica, observe
from sidecar.fleet.sources.samples import SourceError
from sidecar.fleet.sources.settings import TelemetryConfig
from sidecar.fleet.sources.tally import Tally
from sidecar.wire import orca_load_report_pb2, orca_pb2

log = logging.getLogger(__name__)

METHOD = "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics"
MOST_BYTES = 1 << 20
FIRST_DELAY_S, MOST_DELAY_S = 0.2, 30.0
# Servers may take more time than they are asked to, half a minute in gRPC's own implementations. A stream that says
# nothing for longer than this, or ten intervals, is given up.
SILENT_S = 90.0
Report = orca_load_report_pb2.OrcaLoadReport


class OrcaListener:
    """Listens to all replicas of one candidate at once, and connects again when a stream ends.

    Args:
        candidate: its name.
        config: of its telemetry; `orca` are the replicas.
        engine: what the keys of reports mean.
        publish: takes an observation for each report: what all replicas last said, those left out whose stream is down.
        unix: Unix seconds.
        first_delay_s: between the end of a stream and the next try; doubles up to half a minute while there is no report.

    Attributes:
        tallies: how each replica fares.

    Raises:
        ConfigError: the file of authorities cannot be used.
    """

    def __init__(
        self,
        candidate: str,
        config: TelemetryConfig,
        engine: Engine,
        publish: Publish,
        *,
        unix: Callable[[], float] = time.time,
        first_delay_s: float = FIRST_DELAY_S,
    ) -> None:
        self._candidate = candidate
        self._config = config
        self._engine = engine
        self._publish = publish
        self._unix = unix
        self._first_delay_s = first_delay_s
        self._silent_s = max(SILENT_S, 10 * config.interval_seconds)
        self._credentials = _credentials(candidate, config)
        self._headers = headers_of(config.headers, config.token_file)
        self._replicas = [Replica(engine, 0.0) for _ in config.orca]
        self.tallies: Sequence[Tally] = [Tally(candidate, "orca", address) for address in config.orca]

    async def run(self) -> None:
        """Listens until it is cancelled."""
        async with asyncio.TaskGroup() as listening:
            for replica, tally in zip(self._replicas, self.tallies, strict=True):
                listening.create_task(self._keep_listening(replica, tally))

    async def _keep_listening(self, replica: Replica, tally: Tally) -> None:
        async with self._channel(tally.target) as channel:
            delay_s = self._first_delay_s
            while True:
                before = tally.ok
                try:
                    async for report in self._reports(channel):
                        self._take(report, replica, tally)
                    tally.fail("ended the stream")
                except SourceError as error:
                    tally.fail(str(error))
                replica.hear(None, 0.0)
                delay_s = self._first_delay_s if tally.ok > before else min(2 * delay_s, MOST_DELAY_S)
                await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))  # noqa: S311 - only so that not all come at once

    def _take(self, report: Report, replica: Replica, tally: Tally) -> None:
        replica.hear(samples_of(report), 0.0)
        observed = observe(self._engine, self._replicas, self._unix())
        if understood(observed):
            tally.tell(observed.observed_unix)
            self._publish(self._candidate, observed)
        else:
            tally.fail("reports nothing that is understood; name its keys under fleet.engines.orca")

    async def _reports(self, channel: grpc.aio.Channel) -> AsyncIterator[Report]:
        ask = channel.unary_stream(
            METHOD,
            request_serializer=orca_pb2.OrcaLoadReportRequest.SerializeToString,
            response_deserializer=Report.FromString,
        )
        request = orca_pb2.OrcaLoadReportRequest()
        request.report_interval.FromNanoseconds(round(self._config.interval_seconds * 1e9))
        stream = ask(request, metadata=_metadata(self._headers()))
        try:
            while True:
                async with asyncio.timeout(self._silent_s):
                    report: Any = await stream.read()
                if report is grpc.aio.EOF:
                    return
                yield report
        except TimeoutError:
            raise SourceError(f"no report within {self._silent_s:g} s") from None
        except grpc.aio.AioRpcError as error:
            raise SourceError(_why(error)) from None
        finally:
            stream.cancel()

    def _channel(self, address: str) -> grpc.aio.Channel:
        options = [("grpc.max_receive_message_length", MOST_BYTES), ("grpc.enable_http_proxy", 0)]
        if self._credentials is None:
            return grpc.aio.insecure_channel(address, options)
        return grpc.aio.secure_channel(address, self._credentials, options)


def _why(error: grpc.aio.AioRpcError) -> str:
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return "serves no ORCA reports (xds.service.orca.v3.OpenRcaService)"
    words = " ".join((error.details() or "").split())[:200]
    return f"{error.code().name}: {words}"


def _metadata(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name.lower(), value) for name, value in headers.items())


def _credentials(candidate: str, config: TelemetryConfig) -> grpc.ChannelCredentials | None:
    if not config.orca_tls:
        return None
    try:
        return grpc.ssl_channel_credentials(Path(config.ca_file).read_bytes() if config.ca_file else None)
    except OSError as error:
        raise ConfigError(
            f"candidates.{candidate}.telemetry.ca_file: {config.ca_file}: {error.strerror}; give a PEM file."
        ) from None
