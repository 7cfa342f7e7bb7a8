"""The exported graph computes what training computed."""

import numpy as np
import pytest

from export import graph
from export.train import Trained
from sidecar.scoring.session import Session

TEXTS = ["simmer the onions", "solve the equation (integer) root. root, root", "", "zzz \u4f60\u597d ???"]


@pytest.fixture(scope="module")
def session(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Session:
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    path.write_bytes(graph.build(trained.plan))
    return Session(path, candidates=2)


def _inputs(trained: Trained, texts: list[str], padding: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rows = [encoding.ids for encoding in trained.vocabulary.tokenizer.encode_batch(texts)]
    width = max(map(len, rows)) + padding
    ids, mask = (np.zeros((len(rows), width), np.int64) for _ in range(2))
    for index, row in enumerate(rows):
        ids[index, : len(row)], mask[index, : len(row)] = row, 1
    return ids, mask


def test_scores_equal_those_of_training(trained: Trained, session: Session) -> None:
    for got, expected in zip(session(*_inputs(trained, TEXTS)), trained.scores(TEXTS, 64), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_padding_changes_nothing(trained: Trained, session: Session) -> None:
    for one, other in zip(session(*_inputs(trained, TEXTS)), session(*_inputs(trained, TEXTS, 9)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6, rtol=1e-6)


def test_masked_ids_count_for_nothing(trained: Trained, session: Session) -> None:
    ids, mask = _inputs(trained, TEXTS, 3)
    expected = session(ids, mask)[0]
    np.testing.assert_allclose(session(np.where(mask == 1, ids, 7), mask)[0], expected, atol=1e-6)


def test_the_table_has_eight_bits_and_uses_them(trained: Trained) -> None:
    assert np.abs(trained.plan.table).max() == graph.LEVELS
    assert trained.plan.table.dtype == np.int8
