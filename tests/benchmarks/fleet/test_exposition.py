import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.fleet.calendar import Calendar
from benchmarks.fleet.exposition import MetricsServer, exposition
from benchmarks.fleet.servers import Call, Server

from .conftest import Make


def figures(text: str) -> dict[str, float]:
    return {sample.name: sample.value for family in text_string_to_metric_families(text) for sample in family.samples}


def test_a_server_tells_its_load_and_its_times_in_real_seconds(make: Make) -> None:
    calendar = Calendar()
    server = Server(make(slots=2, first_token_s=0.5), calendar)
    for _ in range(5):
        server.submit(Call(10.0, 3.0, lambda _call: None))
    calendar.run(4.0)  # two have ended after 3.5 s, two run, one waits
    said = figures(exposition(server, 20.0))
    assert (said["vllm:num_requests_running"], said["vllm:num_requests_waiting"]) == (2, 1)
    assert said["vllm:kv_cache_usage_perc"] == 1.0
    assert (said["vllm:request_success_total"], said["vllm:generation_tokens_total"]) == (2, 6)
    assert said["vllm:prompt_tokens_total"] == 20
    assert said["vllm:time_to_first_token_seconds_sum"] / said[
        "vllm:time_to_first_token_seconds_count"
    ] == pytest.approx((0.5 + 0.5 + 4.0 + 4.0) / 4 / 20)
    assert said["vllm:time_per_output_token_seconds_sum"] / said["vllm:time_per_output_token_seconds_count"] == (
        pytest.approx(1.0 / 20)
    )


def test_the_pages_are_served_over_http() -> None:
    pages = {"small": "a 1\n", "large": None}
    with MetricsServer(["small", "large"], pages.get) as server:
        with urllib.request.urlopen(server.url("small"), timeout=10) as reply:  # noqa: S310 - our own
            assert reply.read() == b"a 1\n"
            assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        for name, status in (("large", 503), ("other", 404)):
            with pytest.raises(urllib.error.HTTPError) as error:
                urllib.request.urlopen(server.url(name), timeout=10)  # noqa: S310 - our own
            assert error.value.code == status
            error.value.close()
        assert server.scrapes == 1
