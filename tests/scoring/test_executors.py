"""Both ways to run an encoder give each row what it gets alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.errors import BundleError
from sidecar.scoring.bucketed import Bucket, Bucketed, warm
from sidecar.scoring.buckets import Buckets
from sidecar.scoring.memory import HostMemory
from sidecar.scoring.ragged import Ragged
from sidecar.scoring.session import Session, opened
from tests.conftest import VOCABULARY

COLUMNS = (3, 8, 3)
BATCHES, TOKENS = [1, 2, 4], [2, 8, 24]
WORDS = st.integers(2, len(VOCABULARY) - 1)  # neither the unknown word nor the one that makes NaN
ROWS = st.lists(st.lists(WORDS, min_size=1, max_size=24), min_size=1, max_size=20)


@pytest.fixture(scope="module")
def model(encoder_bundle: Path) -> Path:
    return encoder_bundle / "model.onnx"


@pytest.fixture(scope="module")
def session(model: Path) -> Session:
    return Session(model, candidates=3)


def bucketed(model: Path, session: Session, **changes: Any) -> Bucketed:
    def open_session(batch: int, tokens: int, _graphs: bool) -> Any:  # noqa: FBT001 - as Open
        return opened(model, dimensions=dict(zip(session.dimensions, (batch, tokens), strict=True)))

    given: dict[str, Any] = {"open_session": open_session, "graphs": True, **changes}
    return Bucketed(
        buckets=Buckets(BATCHES, TOKENS),
        columns=COLUMNS,
        memory=HostMemory(),
        pad_id=0,
        last_id=len(VOCABULARY) - 1,
        **given,
    )


@pytest.fixture(scope="module")
def device(model: Path, session: Session) -> Bucketed:
    made = bucketed(model, session)
    warm(made, lambda work: work())
    return made


def alone(session: Session, rows: Sequence[list[int]]) -> list[Any]:
    parts = [session(np.array([row]), np.ones((1, len(row)), np.int64)) for row in rows]
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


@settings(max_examples=60)
@given(rows=ROWS)
def test_rows_in_buckets_get_what_they_get_alone(device: Bucketed, session: Session, rows: list[list[int]]) -> None:
    for got, wanted in zip(device(rows), alone(session, rows), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-5)


@settings(max_examples=60)
@given(rows=ROWS, most=st.integers(1, 8))
def test_rows_run_ragged_get_what_they_get_alone(session: Session, rows: list[list[int]], most: int) -> None:
    for got, wanted in zip(Ragged(session, 0, most)(rows), alone(session, rows), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_rows_of_unlike_length_share_a_run_where_the_model_takes_padding_out(session: Session) -> None:
    runs: list[tuple[int, ...]] = []

    def infer(ids: Any, mask: Any) -> Any:
        runs.append(ids.shape)
        return session(ids, mask)

    rows = [[5] * length for length in (4, 30, 31)]
    Ragged(infer, 0, 32)(rows)
    assert runs == [(1, 4), (2, 31)]
    runs.clear()
    together = Ragged(infer, 0, 32, unpadded=True)(rows)
    assert runs == [(3, 31)]
    for got, wanted in zip(together, alone(session, rows), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_all_shapes_that_can_occur_are_warmed(device: Bucketed) -> None:
    assert device.shapes() == {(batch, tokens) for batch in BATCHES for tokens in TOKENS}


def test_a_result_is_not_written_over_by_the_next_run(device: Bucketed) -> None:
    first = device([[5, 6]])
    kept = [part.copy() for part in first]
    device([[30]])
    for part, copy in zip(first, kept, strict=True):
        np.testing.assert_array_equal(part, copy)


def test_nothing_of_earlier_rows_is_left_and_rows_that_nobody_asked_for_have_a_token(model: Path) -> None:
    bucket = Bucket(opened(model), (4, 8), COLUMNS, HostMemory(), pad_id=7, last_id=9, graph=0)
    bucket([[5] * 8] * 4)
    bucket([[3, 4]])
    assert bucket._ids.array.tolist() == [[3, 4, *[7] * 6], *[[7] * 8] * 3]
    assert bucket._mask.array.tolist() == [[1, 1, *[0] * 6], *[[1, *[0] * 7]] * 3]


def test_warming_happens_where_it_is_told_to_bucket_by_bucket(model: Path, session: Session) -> None:
    calls = []

    def call(work: Any) -> Any:
        calls.append(result := work())
        return result

    warm(bucketed(model, session), call)
    assert {shape for shape in calls if shape} == {(batch, tokens) for batch in BATCHES for tokens in TOKENS}


def test_sessions_that_refuse_graphs_are_opened_without(model: Path, session: Session) -> None:
    asked = []

    def refuse_graphs(batch: int, tokens: int, graphs: bool) -> Any:  # noqa: FBT001 - as Open
        asked.append(graphs)
        if graphs:
            raise BundleError("model.fp16.onnx: a part of it runs on the CPU")
        return opened(model, dimensions=dict(zip(session.dimensions, (batch, tokens), strict=True)))

    made = bucketed(model, session, open_session=refuse_graphs)
    warm(made, lambda work: work())
    assert not made.graphs
    assert asked == [True, *[False] * len(BATCHES) * len(TOKENS)]
    np.testing.assert_allclose(made([[5]])[0], alone(session, [[5]])[0], atol=1e-5)


def test_a_graph_that_keeps_its_first_input_for_ever_is_found_out(model: Path, session: Session) -> None:
    class Stuck:
        """Runs the first time, and then gives the same again, as a graph with a frozen input does."""

        def __init__(self, real: Any) -> None:
            self._real = real
            self._ran = 0

        def io_binding(self) -> Any:
            return self._real.io_binding()

        def run_with_iobinding(self, binding: Any, options: Any) -> None:
            self._ran += 1
            if options.get_run_config_entry("gpu_graph_id") == "-1" or self._ran <= 2:
                self._real.run_with_iobinding(binding, options)

    reopened = []

    def open_session(batch: int, tokens: int, graphs: bool) -> Any:  # noqa: FBT001 - as Open
        made = opened(model, dimensions=dict(zip(session.dimensions, (batch, tokens), strict=True)))
        if not graphs:
            reopened.append((batch, tokens))
        return Stuck(made) if graphs else made

    made = bucketed(model, session, open_session=open_session)
    warm(made, lambda work: work())
    assert len(reopened) == len(BATCHES) * len(TOKENS)
    np.testing.assert_allclose(made([[5, 30]])[0], alone(session, [[5, 30]])[0], atol=1e-5)
