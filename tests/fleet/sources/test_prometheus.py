import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from math import isnan
from pathlib import Path
from typing import Any

import pytest
import trustme

from sidecar.errors import ConfigError
from sidecar.fleet.sources.engines import engines
from sidecar.fleet.sources.prometheus import Scraper, targets
from sidecar.fleet.sources.settings import TelemetryConfig
from sidecar.fleet.telemetry import Telemetry
from tests.fleet.sources import expositions
from tests.fleet.sources.model_server import ModelServer, zipped
from tests.fleet.sources.test_fetch import tls_of
from tests.waiting import PATIENCE_S, until

Serve = Callable[..., ModelServer]


class Bench:
    """A scraper, what it published, and its clocks."""

    def __init__(self, engine: str, *servers: ModelServer, **telemetry: Any) -> None:
        self.published: list[tuple[str, Telemetry]] = []
        self.now = 0.0
        given = {"timeout_seconds": PATIENCE_S, "engine": engine, **telemetry}
        self.scraper = Scraper(
            "small",
            TelemetryConfig(urls=tuple(server.url for server in servers), **given),
            engines({})[engine],
            lambda candidate, observed: self.published.append((candidate, observed)),
            clock=lambda: self.now,
            unix=lambda: 1000.0 + self.now,
        )

    async def scrape(self, now: float = 0.0) -> Telemetry:
        self.now = now
        await self.scraper.scrape()
        return self.published[-1][1]

    def close(self) -> None:
        for task in self.scraper._reading.values():
            task.cancel()
        for fetcher in self.scraper._fetchers:
            fetcher.close()


@pytest.fixture
async def bench() -> AsyncIterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def make(*arguments: Any, **more: Any) -> Bench:
        benches.append(Bench(*arguments, **more))
        return benches[-1]

    yield make
    for made in benches:
        made.close()
    await asyncio.sleep(0)  # for the connections to close


@pytest.mark.parametrize("version", ["V0", "0.10", "0.11", "0.12"])
async def test_vllm_by_the_names_of_its_versions(serve: Serve, bench: Any, version: str) -> None:
    server = serve(expositions.vllm(3.0, 2.0, 0.25, ttft=(5.0, 50.0), tpot=(1.0, 90.0), tokens=1000.0, version=version))
    scraping = bench("vllm", server)
    first = await scraping.scrape(0.0)
    assert scraping.published[0][0] == "small"
    assert (first.running, first.waiting, first.kv_used, first.observed_unix) == (3.0, 2.0, 0.25, 1000.0)
    assert isnan(first.first_token_seconds)
    server.body = expositions.vllm(
        4.0, 0.0, 0.5, ttft=(6.0, 52.0), tpot=(2.0, 140.0), tokens=1100.0, errors=4.0, version=version
    )
    second = await scraping.scrape(2.0)
    assert second == Telemetry(
        running=4.0,
        waiting=0.0,
        kv_used=0.5,
        first_token_seconds=0.5,
        seconds_per_token=pytest.approx(0.02),  # type: ignore[arg-type]
        tokens_per_second=50.0,
        errors_per_second=2.0,
        observed_unix=1002.0,
        **{name: second._asdict()[name] for name in Telemetry._fields if isnan(second._asdict()[name])},
    )
    assert isnan(second.max_running)


async def test_sglang_whose_ranks_tell_of_the_same_requests(serve: Serve, bench: Any) -> None:
    seen = await bench("sglang", serve(expositions.sglang(4.0, 1.0, 0.5, 86.5))).scrape()
    assert (seen.running, seen.waiting, seen.kv_used, seen.tokens_per_second) == (4.0, 1.0, 0.5, 86.5)


async def test_sglang_whose_priorities_are_parts_of_a_total(serve: Serve, bench: Any) -> None:
    text = expositions.sglang(4.0, 3.0, priorities={"0": 3.0, "5": 1.0})
    assert 'priority=""' in text
    seen = await bench("sglang", serve(text)).scrape()
    assert (seen.running, seen.waiting) == (4.0, 3.0)


async def test_sglang_whose_data_parallel_ranks_add_up(serve: Serve, bench: Any) -> None:
    seen = await bench("sglang", serve(expositions.sglang(4.0, 1.0, 0.5, parallel=("0", "1", "2")))).scrape()
    assert (seen.running, seen.waiting, seen.kv_used) == (12.0, 3.0, 0.5)


@pytest.mark.parametrize(("grammar", "waiting"), [(None, 1.0), (2.0, 3.0)])
async def test_sglang_in_which_requests_wait_for_their_grammar_too(
    serve: Serve, bench: Any, grammar: float | None, waiting: float
) -> None:
    assert (await bench("sglang", serve(expositions.sglang(queue=1.0, grammar=grammar))).scrape()).waiting == waiting


@pytest.mark.parametrize("steps", [False, True])
async def test_sglang_by_its_counters_once_it_has_answered(serve: Serve, bench: Any, *, steps: bool) -> None:
    def told(tokens: float, **more: Any) -> str:
        return expositions.sglang(
            throughput=7.0, decoded=tokens if steps else None, ended=None if steps else tokens, **more
        )

    server = serve(told(1000.0, ttft=(5.0, 50.0), itl=(1.0, 90.0), statuses={"503": 2.0}))
    scraping = bench("sglang", server)
    await scraping.scrape(0.0)
    server.body = told(1100.0, ttft=(6.0, 52.0), itl=(2.0, 140.0), statuses={"400": 99.0, "500": 3.0, "503": 3.0})
    seen = await scraping.scrape(2.0)
    assert (seen.first_token_seconds, seen.seconds_per_token) == (0.5, pytest.approx(0.02))
    assert (seen.tokens_per_second, seen.errors_per_second) == (50.0, 2.0)


async def test_tgi_whose_first_token_takes_queue_and_prefill(serve: Serve, bench: Any) -> None:
    failed = {"overloaded": 2.0, "generation": 1.0, "incomplete": 0.0, "validation": 5.0, "dropped": 1.0}
    server = serve(expositions.tgi(5.0, 7.0, failures=failed))
    scraping = bench("tgi", server)
    await scraping.scrape(0.0)
    server.body = expositions.tgi(
        waited=(4.0, 8.0),
        prefill=(1.0, 10.0),
        per_token=(0.3, 10.0),
        generated=(500.0, 8.0),
        failures={"overloaded": 6.0, "generation": 2.0, "incomplete": 1.0, "validation": 50.0, "dropped": 10.0},
    )
    seen = await scraping.scrape(2.0)
    assert (seen.running, seen.waiting) == (5.0, 7.0)
    assert seen.first_token_seconds == pytest.approx(0.5 + 0.1)
    assert seen.seconds_per_token == pytest.approx(0.03)
    assert (seen.tokens_per_second, seen.errors_per_second) == (250.0, 3.0)


@pytest.mark.parametrize("old", [False, True])
async def test_llamacpp_whose_time_for_a_token_is_a_quotient_of_counters(
    serve: Serve, bench: Any, *, old: bool
) -> None:
    server = serve(expositions.llamacpp(2.0, 6.0, tokens=100.0, seconds=3.0, old=old))
    scraping = bench("llamacpp", server)
    await scraping.scrape(0.0)
    server.body = expositions.llamacpp(2.0, 6.0, tokens=200.0, seconds=5.0, old=old)
    seen = await scraping.scrape(4.0)
    assert (seen.running, seen.waiting) == (2.0, 6.0)
    assert seen.kv_used == 0.125 if old else isnan(seen.kv_used)
    assert seen.seconds_per_token == pytest.approx(0.02)
    assert seen.tokens_per_second == 25.0


async def test_replicas_that_answer_count_and_the_others_do_not(serve: Serve, bench: Any) -> None:
    servers = [serve(expositions.vllm(float(number))) for number in (1, 2, 4)]
    scraping = bench("vllm", *servers)
    assert (await scraping.scrape()).running == 7.0
    servers[1].answer = lambda handler: handler.send(b"", 503)
    assert (await scraping.scrape()).running == 5.0
    tallies = scraping.scraper.tallies
    assert [(tally.ok, tally.failed) for tally in tallies] == [(2, 0), (1, 1), (2, 0)]
    assert tallies[1].fault == "answers 503"
    assert tallies[1].target == f"127.0.0.1:{servers[1].port}/metrics"


async def test_while_nobody_answers_nothing_is_published(serve: Serve, bench: Any) -> None:
    server = serve(expositions.vllm())
    scraping = bench("vllm", server)
    await scraping.scrape()
    server.answer = lambda handler: handler.send(b"<html>it works</html>")
    await scraping.scrape()
    assert len(scraping.published) == 1
    assert "none of the expected metrics" in scraping.scraper.tallies[0].fault


async def test_a_server_that_hangs_holds_up_no_other(serve: Serve, bench: Any) -> None:
    hanging, sound = serve(), serve(expositions.vllm(6.0))
    hanging.answer = hanging.hang
    scraping = bench("vllm", hanging, sound, timeout_seconds=0.2)
    sound.body = expositions.vllm(6.0)
    assert (await scraping.scrape()).running == 6.0
    assert scraping.scraper.tallies[0].failed == 1


async def test_one_that_hung_before_is_not_waited_for_and_counts_again_when_it_is_back(
    serve: Serve, bench: Any
) -> None:
    hanging, sound = serve(), serve(expositions.vllm(6.0))
    hanging.answer = lambda handler: handler.send(b"", 503)
    scraping = bench("vllm", hanging, sound)
    await scraping.scrape()
    hanging.answer = hanging.hang
    for _ in range(3):  # with a patience of half a minute, of which nothing is used up
        assert (await scraping.scrape()).running == 6.0
    assert scraping.scraper.tallies[1].ok == 4
    assert len(hanging.paths) == 2
    hanging.answer = lambda handler: handler.send(expositions.vllm(1.0).encode())
    hanging.closing.set()  # it hangs up, and is asked again
    await until(scraping.scraper._reading[0].done)
    await scraping.scrape()
    await until(lambda: scraping.scraper._reading.get(0) is None or scraping.scraper._reading[0].done())
    assert (await scraping.scrape()).running == 7.0


def test_urls_are_told_apart_without_their_queries() -> None:
    urls = ("https://a:1/x?token=secret", "https://a:1/x?token=other", "http://b/metrics")
    assert targets(urls) == ["a:1/x", "a:1/x (2)", "b/metrics"]


async def test_the_log_says_when_a_source_fails_and_when_it_is_back_once(
    serve: Serve, bench: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sidecar.fleet")
    server = serve(expositions.vllm())
    scraping = bench("vllm", server)
    await scraping.scrape()
    server.answer = lambda handler: handler.send(b"", 500)
    for _ in range(3):
        await scraping.scrape()
    server.answer = lambda handler: handler.send(zipped(expositions.vllm()), Content_Encoding="gzip")
    for _ in range(2):
        await scraping.scrape()
    said = [record.getMessage() for record in caplog.records if "telemetry of small" in record.getMessage()]
    assert len(said) == 2
    assert said[0].endswith("answers 500")
    assert said[1].endswith("is back")


async def test_it_scrapes_again_and_again_until_it_is_cancelled(serve: Serve) -> None:
    server = serve(expositions.vllm())
    several = asyncio.Event()
    published: list[Telemetry] = []

    def publish(_candidate: str, observed: Telemetry) -> None:
        published.append(observed)
        if len(published) == 3:
            several.set()

    config = TelemetryConfig(engine="vllm", urls=(server.url,), interval_seconds=0.02, timeout_seconds=PATIENCE_S)
    scraper = Scraper("small", config, engines({})["vllm"], publish)
    task = asyncio.ensure_future(scraper.run())
    await asyncio.wait_for(several.wait(), PATIENCE_S)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(0)
    assert scraper._fetchers[0]._connection is None
    assert len(server.clients) == 1


async def test_a_token_goes_to_the_server_from_its_file(serve: Serve, bench: Any, tmp_path: Path) -> None:
    token = tmp_path / "token"
    server = serve(expositions.vllm())
    scraping = bench("vllm", server, token_file=str(token), headers={"X-Scope": "router"})
    await scraping.scraper.scrape()
    assert "token_file" in scraping.scraper.tallies[0].fault
    token.write_text("abc\n")
    await scraping.scrape()
    assert server.headers[-1]["authorization"] == "Bearer abc"
    assert server.headers[-1]["x-scope"] == "router"


async def test_an_authority_of_ones_own_is_trusted(serve: Serve, bench: Any, tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server = serve(expositions.vllm(9.0), tls=tls_of(ca, "127.0.0.1"))
    assert (await bench("vllm", server, ca_file=str(tmp_path / "ca.pem")).scrape()).running == 9.0


@pytest.mark.parametrize("content", [None, "", "no certificate"])
async def test_authorities_that_cannot_be_read_are_refused_by_their_key(
    tmp_path: Path, bench: Any, content: str | None
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=r"candidates\.small\.telemetry\.ca_file: .*give a PEM file"):
        bench("vllm", ca_file=str(path))
