import itertools
import logging
from collections.abc import Sequence

import numpy as np
import pytest

from sidecar.errors import RouterError
from sidecar.routing.decision import Choice, Reason
from sidecar.routing.decision_id import DecisionIds
from sidecar.routing.router import Decided, Router
from sidecar.routing.rule import Unsensed
from sidecar.types import Scores
from tests.routing.fleet import ask_for, scores_of, table_of


class Model:
    """Scores everything alike, and fails on the texts that it is told to fail on."""

    def __init__(self) -> None:
        self.failing: set[str] = set()
        self.batches: list[int] = []

    def __call__(self, texts: Sequence[str]) -> Scores:
        self.batches.append(len(texts))
        if self.failing.intersection(texts):
            raise ValueError("the secret prompt")
        return scores_of([[0.1, 0.2, 0.9]] * len(texts))


def ids() -> DecisionIds:
    return DecisionIds(lambda: 0.0, process=1)


def router_with(model: Model | None, fault: str = "") -> tuple[Router, list[str]]:
    reports: list[str] = []
    ticks = itertools.count()
    return Router(Unsensed(table_of()), model, ids(), lambda: float(next(ticks)), fault, reports.append), reports


def reasons_of(pieces: list[Decided]) -> list[Reason]:
    return [outcome.reasons[0] for piece in pieces for outcome in piece.outcomes if isinstance(outcome, Choice)]


def test_a_batch_is_scored_in_one_run() -> None:
    model = Model()
    router, _ = router_with(model)
    (piece,) = router.decide([ask_for()] * 5)
    assert model.batches == [5]
    assert len(piece.outcomes) == 5
    assert (router.tally.decisions, router.tally.batches, router.tally.degraded) == (5, 1, 0)


def test_without_a_bundle_every_request_is_degraded() -> None:
    router, _ = router_with(None, "no bundle")
    assert reasons_of(router.decide([ask_for()] * 3)) == [Reason.DEGRADED] * 3
    assert router.tally.degraded == 3


def test_one_bad_input_degrades_itself_alone_and_order_is_kept() -> None:
    model = Model()
    model.failing = {"bad"}
    router, _ = router_with(model)
    pieces = router.decide([ask_for(text=text) for text in ("a", "bad", "b")])
    assert reasons_of(pieces) == [Reason.LEARNED, Reason.DEGRADED, Reason.LEARNED]
    assert (router.tally.decisions, router.tally.degraded) == (3, 1)


def test_a_lasting_fault_is_reported_and_logged_once_and_so_is_recovery(caplog: pytest.LogCaptureFixture) -> None:
    model = Model()
    router, reports = router_with(model)
    model.failing = {"text"}
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            router.decide([ask_for()])
        model.failing = set()
        for _ in range(3):
            router.decide([ask_for()])
    assert reports == ["scoring failed: ValueError", ""]
    assert len(caplog.records) == 2
    assert router.fault == ""


def test_a_foreign_errors_words_are_not_repeated_since_they_may_quote_a_prompt(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = Model()
    model.failing = {"text"}
    router, reports = router_with(model)
    router.decide([ask_for()])
    assert "secret" not in caplog.text + "".join(reports)


def test_our_own_errors_words_are_repeated() -> None:
    def fail(_texts: Sequence[str]) -> Scores:
        raise RouterError("model.onnx: quality is not finite")

    reports: list[str] = []
    router = Router(Unsensed(table_of()), fail, ids(), lambda: 0.0, on_fault=reports.append)
    router.decide([ask_for()])
    assert reports == ["scoring failed: model.onnx: quality is not finite"]


def test_scores_that_are_no_numbers_still_get_an_answer() -> None:
    def nonsense(_texts: Sequence[str]) -> Scores:
        return scores_of([[np.nan] * 3])._replace(quality=None)  # type: ignore[arg-type]

    router = Router(Unsensed(table_of()), nonsense, ids(), lambda: 0.0)
    assert reasons_of(router.decide([ask_for()])) == [Reason.DEGRADED]
