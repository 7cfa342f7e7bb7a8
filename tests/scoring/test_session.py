from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sidecar.errors import BundleError
from sidecar.scoring.session import Session


@pytest.fixture(scope="module")
def session(tiny_bundle: Path) -> Session:
    return Session(tiny_bundle / "model.onnx", candidates=3)


def test_outputs_come_in_the_contracts_order_and_types(session: Session) -> None:
    quality, embedding, output_tokens = session(np.array([[2, 3], [4, 0]]), np.array([[1, 1], [1, 0]]))
    assert (quality.shape, embedding.shape, output_tokens.shape) == ((2, 3), (2, 8), (2, 3))
    assert {quality.dtype, embedding.dtype, output_tokens.dtype} == {np.dtype(np.float32)}


def test_what_stands_behind_the_mask_does_not_count(session: Session) -> None:
    ids = np.array([[2, 3, 9, 9]])
    padded = session(ids, np.array([[1, 1, 0, 0]]))
    bare = session(ids[:, :2].copy(), np.array([[1, 1]]))
    for one, other in zip(padded, bare, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_the_session_keeps_to_the_calling_thread(session: Session) -> None:
    options = session._run.__self__.session_options
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_a_model_that_does_not_say_so_is_taken_for_one_in_which_padding_costs(session: Session) -> None:
    assert session.unpadded is False


def test_the_provider_that_runs_it_is_named(session: Session) -> None:
    assert session.execution_provider == "CPUExecutionProvider"


def test_the_probe_gives_the_embeddings_width_and_refuses_unknown_ids(session: Session) -> None:
    assert session.probe([0, 5]) == 8
    with pytest.raises(BundleError, match=r"^model.onnx: fails on ids of its own tokenizer"):
        session.probe([0, 100_000])


def test_a_missing_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"^model.onnx: ONNX Runtime cannot load it"):
        Session(tmp_path / "model.onnx", candidates=3)


def test_a_refusal_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str], tiny_model: Any) -> None:
    broken = tiny_model.SerializeToString().replace(b"Gather", b"Gath\xff\xff")  # an unprintable complaint
    (tmp_path / "model.onnx").write_bytes(broken)
    with pytest.raises(BundleError):
        Session(tmp_path / "model.onnx", candidates=3)
    assert capfd.readouterr() == ("", "")
