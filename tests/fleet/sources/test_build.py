import asyncio
import subprocess
import sys
from collections.abc import Callable

from sidecar.config import CandidateConfig, Config
from sidecar.fleet.sources.build import sources_of
from sidecar.fleet.sources.orca import OrcaListener
from sidecar.fleet.sources.prometheus import Scraper
from sidecar.fleet.sources.settings import TelemetryConfig
from sidecar.fleet.telemetry import Telemetry
from sidecar.wire.orca_load_report_pb2 import OrcaLoadReport
from tests.fleet.sources import expositions
from tests.fleet.sources.model_server import ModelServer
from tests.fleet.sources.test_orca import Reporter, report
from tests.waiting import PATIENCE_S

GRPC_FREE = """
import sys
from sidecar.config import CandidateConfig, Config
from sidecar.observer import Observer
from sidecar.fleet.sources.settings import TelemetryConfig
telemetry = TelemetryConfig(engine="vllm", urls=("http://a/metrics",))
Observer(Config(candidates=(CandidateConfig(name="a", telemetry=telemetry),)))
print([name for name in ("grpc", "google.protobuf", "onnxruntime") if name in sys.modules])
"""


def test_each_candidate_has_the_sources_that_it_is_configured_with() -> None:
    url, address = "http://a/metrics", "a:1"
    config = Config(
        candidates=(
            CandidateConfig(name="none"),
            CandidateConfig(name="scraped", telemetry=TelemetryConfig(engine="tgi", urls=(url,))),
            CandidateConfig(name="heard", telemetry=TelemetryConfig(orca=(address,))),
            CandidateConfig(name="both", telemetry=TelemetryConfig(engine="vllm", urls=(url,), orca=(address,))),
        )
    )
    found = [(type(source), source.tallies[0].candidate) for source in sources_of(config, lambda *_: None)]
    assert found == [(Scraper, "scraped"), (OrcaListener, "heard"), (Scraper, "both"), (OrcaListener, "both")]


async def test_two_sources_of_a_candidate_are_one_observation(serve: Callable[..., ModelServer]) -> None:
    reporter = Reporter()
    await reporter.start()
    server = serve(expositions.vllm(3.0, 2.0, kv=0.25))
    telemetry = TelemetryConfig(
        engine="vllm", urls=(server.url,), orca=(reporter.address,), interval_seconds=0.05, timeout_seconds=PATIENCE_S
    )
    joint = asyncio.Event()

    def publish(candidate: str, observed: Telemetry) -> None:
        # The scrape alone knows what is running, the report alone how many can.
        if candidate == "both" and observed.running == 3.0 and observed.max_running == 64.0:
            joint.set()

    config = Config(candidates=(CandidateConfig(name="both", telemetry=telemetry),))
    tasks = [asyncio.ensure_future(source.run()) for source in sources_of(config, publish)]
    await reporter.reports.put(_slots())
    try:
        await asyncio.wait_for(joint.wait(), PATIENCE_S)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # for the connections to close
        await reporter.stop()


def _slots() -> OrcaLoadReport:
    made = report(2.0)
    made.named_metrics["max_num_seqs"] = 64.0
    return made


def test_scraping_needs_no_grpc() -> None:
    said = subprocess.run([sys.executable, "-c", GRPC_FREE], capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout.strip() == "[]"
