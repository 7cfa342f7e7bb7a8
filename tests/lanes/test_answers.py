import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sidecar.bundle.load import Bundle, load
from sidecar.coverage import Coverage
from sidecar.errors import Expired, Overloaded, RouterError
from sidecar.lanes.answers import Answers
from sidecar.lanes.engine import Engine
from sidecar.lanes.flight import Job
from sidecar.wire import router_pb2 as pb
from tests.lanes.engines import Bench, of_version

PROMPT = "a secret prompt"
Shed = Callable[[Answers, Job], Any]


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return load(tiny_bundle)


@pytest.fixture
def bench(bundle: Bundle) -> Bench:
    return Bench(bundle)


@pytest.fixture
def answers() -> Answers:
    return Answers(Coverage(), time.perf_counter)


def job(engine: Engine, segment: str = "") -> Job:
    request = pb.RouteRequest(text="what is the capital", segment=segment)
    return engine, engine.intake(request, time.perf_counter())


def failing(*_: Any) -> Any:
    raise ValueError(PROMPT)


def versions(replies: Any) -> list[str]:
    return [pb.RouteResponse.FromString(reply).bundle_version for reply in replies]


def test_a_batch_of_several_engines_is_answered_in_its_order_by_each_its_own(
    bench: Bench, bundle: Bundle, answers: Answers
) -> None:
    one, two = bench.services.engine, bench.engine(of_version(bundle, "2"))
    assert versions(answers.answer([job(one), job(two), job(two), job(one)])) == ["1", "2", "2", "1"]
    assert [size for _, _, size in answers.batches] == [4]


@pytest.mark.parametrize("broken", [0, 1])
def test_a_batch_that_fails_is_an_error_for_each_and_nothing_of_it_is_quoted(
    bench: Bench, bundle: Bundle, answers: Answers, broken: int, caplog: pytest.LogCaptureFixture
) -> None:
    engines = [bench.services.engine, bench.engine(of_version(bundle, "2"))]
    jobs = [job(engines[0]), job(engines[broken])]
    engines[broken].answer = failing  # type: ignore[method-assign, assignment]
    with caplog.at_level(logging.ERROR):
        replies = answers.answer(jobs)
    assert isinstance(replies, list)
    assert [(type(reply), "its log says why" in str(reply)) for reply in replies] == [(RouterError, True)] * 2
    assert "a batch of 2 requests could not be answered" in caplog.text
    assert PROMPT not in caplog.text
    assert not answers.batches


@pytest.mark.parametrize(
    ("what", "kind", "count"),
    [
        (lambda answers, job: answers.degrade(job, 0.5), bytes, "shed"),
        (lambda answers, job: answers.reject(job, 0.5), Overloaded, "shed"),
        (lambda answers, job: answers.expire(job), Expired, "expired"),
    ],
)
def test_what_is_not_scored_is_counted_once_and_lowers_its_segments_coverage(
    bench: Bench, what: Shed, kind: type[Any], count: str
) -> None:
    answers = Answers(bench.coverage, time.perf_counter)
    assert isinstance(what(answers, job(bench.services.engine, "docs")), kind)
    drops = {name: getattr(answers.drops, name) for name in answers.drops.__slots__}
    assert {name: amount for name, amount in drops.items() if amount} == {count: 1}
    assert bench.coverage.totals() == {"docs": (0, 1)}


def test_one_whose_caller_is_gone_and_one_that_was_not_even_read_are_counted_too(bench: Bench) -> None:
    answers = Answers(bench.coverage, time.perf_counter)
    answers.forget(job(bench.services.engine))
    assert isinstance(answers.expire_unread("docs"), Expired)
    assert isinstance(answers.expire_unread(None), Expired)
    assert isinstance(answers.reject_unread("docs", 0.5), Overloaded)
    assert (answers.drops.cancelled, answers.drops.expired, answers.drops.shed) == (1, 2, 1)
    assert bench.coverage.totals() == {"docs": (0, 2)}
