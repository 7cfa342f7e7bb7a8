import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.fleet import herd, settings
from benchmarks.fleet.candidates import FLEET, Candidate
from sidecar.config import load_config
from sidecar.wire import router_pb2 as pb

from .conftest import Make


def test_the_worst_share_counts_relative_to_what_it_should_be() -> None:
    assert herd.off_by([50, 50], [500.0, 500.0]) == 0.0
    assert herd.off_by([60, 40], [500.0, 500.0]) == pytest.approx(0.2)
    assert herd.off_by([95, 5], [900.0, 100.0]) == pytest.approx(0.5)
    assert herd.off_by([100, 0], [1.0, 0.0]) == 0.0
    assert herd.off_by([99, 1], [1.0, 0.0]) == float("inf")


def test_a_page_says_how_many_run_and_how_many_wait(make: Make) -> None:
    text = herd.page(make(slots=3), 5)
    said = {sample.name: sample.value for family in text_string_to_metric_families(text) for sample in family.samples}
    assert (said["vllm:num_requests_running"], said["vllm:num_requests_waiting"]) == (3, 2)


def test_nothing_but_load_tells_the_candidates_apart(tmp_path: Path) -> None:
    table = herd.table_for(FLEET, {candidate.name: "http://127.0.0.1:1/metrics" for candidate in FLEET})
    config = load_config(settings.write(tmp_path / "sidecar.toml", table))
    terms = config.terms()[config.default_policy]
    assert (terms.answer_value_usd, terms.second_value_usd) == (0.0, 1.0)
    assert {(entry.input_usd_per_mtok, entry.output_usd_per_mtok) for entry in config.candidates} == {(0.0, 0.0)}
    assert config.workers == herd.WORKERS


def test_the_requests_are_a_thousand_different_ones_with_answers_of_one_token() -> None:
    asked = [pb.RouteRequest.FromString(payload) for payload in herd.asked()]
    assert len({request.text for request in asked}) == 1000
    assert {request.max_output_tokens for request in asked} == {1}


def test_pages_fall_silent_and_their_age_is_known() -> None:
    frozen = herd.Frozen({"small": "page"})
    before = time.perf_counter()
    assert frozen.text("small") == "page"
    assert before <= frozen.last <= time.perf_counter()
    last, frozen.silent = frozen.last, True
    assert frozen.text("small") is None
    assert (frozen.last, frozen.given) == (last, {"small": 1})


def test_every_case_has_a_server_for_each_candidate() -> None:
    for case in herd.CASES:
        assert len(case.slots) == len(case.in_flight) == len(FLEET)
        assert all(isinstance(candidate, Candidate) for candidate in FLEET)
