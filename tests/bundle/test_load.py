import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from sidecar.bundle import arrays
from sidecar.bundle.load import load
from sidecar.bundle.manifest import (
    GOLDEN,
    GOLDEN_FP16,
    MANIFEST,
    MODEL,
    MODEL_FP16,
    REFERENCE,
    TOKENIZER,
    TokenizerLimits,
)
from sidecar.bundle.seal import seal
from sidecar.bundle.verify import SEALED, decode, examine, verify
from sidecar.errors import BundleError
from sidecar.scoring.session import Session
from tests.conftest import MakeBundle


def resealed(bundle: Path, name: str, data: bytes) -> Path:
    """The bundle with another file in it, and a manifest that agrees with it."""
    manifest = decode((bundle / MANIFEST).read_bytes())
    (bundle / name).write_bytes(data)
    seal(bundle, manifest)
    return bundle


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy to tamper with."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def test_a_loaded_bundle_says_what_it_is_and_scores(tiny_bundle: Path) -> None:
    bundle = load(tiny_bundle)
    assert (bundle.manifest, bundle.manifest_sha256) == verify(tiny_bundle)
    assert bundle.execution_provider == "CPUExecutionProvider"
    easy, hard = bundle.scorer(["how do i cook rice", "prove the theorem"]).quality
    assert easy[0] > 0.8
    assert hard[0] < 0.2
    assert hard[2] > 0.8


def test_novel_prompts_are_drawn_to_the_priors(tiny_bundle: Path) -> None:
    scores = load(tiny_bundle).scorer(["zzz qqq xxx", "what is the capital"])
    assert scores.novelty[0] > 0.98 > scores.novelty[1]
    np.testing.assert_allclose(scores.quality[0], [0.5, 0.7, 0.9], atol=0.05)


def test_the_bytes_that_were_checked_are_those_that_are_loaded(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def then_destroyed(directory: Path, **given: Any) -> Any:
        verified = examine(directory, **given)
        for name in (TOKENIZER, REFERENCE, GOLDEN, MANIFEST):
            (directory / name).write_bytes(b"destroyed")
        return verified

    monkeypatch.setattr("sidecar.bundle.load.examine", then_destroyed)
    assert load(bundle).scorer(["rice"]).quality.shape == (1, 3)


def test_a_model_that_is_exchanged_during_the_load_is_refused(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exchanged(path: Path, **given: Any) -> Session:
        shutil.copy(bundle / MODEL, tmp_path / "same")
        (tmp_path / "same").replace(bundle / MODEL)
        return Session(path, **given)

    monkeypatch.setattr("sidecar.bundle.load.Session", exchanged)
    with pytest.raises(BundleError, match=f"^{MODEL}: changed between its check and its loading"):
        load(bundle)


def test_a_directory_that_is_exchanged_for_the_moment_of_loading_does_not_get_its_model_in(
    bundle: Path, make_bundle: MakeBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_bundle(tmp_path / "other", model=_weights("bias", lambda array: array - 9.0))

    def exchanged(path: Path, **given: Any) -> Session:
        bundle.rename(tmp_path / "aside")
        other.rename(bundle)
        session = Session(path, **given)
        bundle.rename(other)
        (tmp_path / "aside").rename(bundle)
        return session

    monkeypatch.setattr("sidecar.bundle.load.Session", exchanged)
    assert load(bundle, golden=False).scorer(["rice"]).quality[0, 0] > 0.5


def _graph(change: Callable[[Any], None]) -> Callable[[Any], None]:
    return lambda model: change(model.graph)


def _weights(name: str, change: Callable[[Any], Any]) -> Callable[[Any], None]:
    def edit(model: Any) -> None:
        for initializer in model.graph.initializer:
            if initializer.name == name:
                array = np.asarray(change(numpy_helper.to_array(initializer).copy()), np.float32)
                initializer.CopyFrom(numpy_helper.from_array(array, name))

    return edit


def _wrong_columns(model: Any) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "free"
    _weights("pull", lambda array: array[:, :2])(model)
    _weights("bias", lambda array: array[:2])(model)


def _unknown_operator(model: Any) -> None:
    model.graph.node.append(helper.make_node("NoSuchOperator", ["mask"], ["nothing"]))


def _no_guard_against_empty_rows(model: Any) -> None:
    _weights("one", lambda _: 0.0)(model)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_wrong_columns, f"{MODEL}: output quality is float32 .3, 2. for a batch of 3; the contract says"),
        (_unknown_operator, f"{MODEL}: ONNX Runtime cannot load it: .*NoSuchOperator"),
        (_graph(lambda graph: graph.node.pop(0)), f"{MODEL}: ONNX Runtime cannot load it"),
        (_weights("table", lambda array: array[:-1]), f"{MODEL}: fails on ids of its own tokenizer"),
        (_no_guard_against_empty_rows, f"{MODEL}: output .* is not finite"),
        (_weights("bias", lambda array: array + 0.01), f"{GOLDEN}: a score differs by"),
        (_weights("bias", lambda array: array * np.nan), f"{MODEL}: output quality is not finite"),
        (_weights("tokens_bias", lambda array: -array), f"{GOLDEN}: expected output tokens are negative"),
    ],
)
def test_a_model_that_does_not_do_its_work_is_refused(
    make_bundle: Any, tmp_path: Path, change: Callable[[Any], None], reason: str
) -> None:
    with pytest.raises(BundleError, match=f"^{reason}"):
        load(make_bundle(tmp_path, model=change))


def test_golden_vectors_of_another_bundle_are_refused(bundle: Path) -> None:
    vectors = json.loads((bundle / GOLDEN).read_bytes())
    vectors[0]["quality"][1] -= 0.01
    resealed(bundle, GOLDEN, json.dumps(vectors).encode())
    with pytest.raises(BundleError, match=rf"^{GOLDEN}: a score differs by 0.01.* at `\$\[0\]"):
        load(bundle)
    assert load(bundle, golden=False).manifest.name == "tiny"


def test_a_golden_text_that_cannot_be_scored_is_a_refusal(bundle: Path) -> None:
    vectors = json.loads((bundle / GOLDEN).read_bytes())
    vectors[0]["text"] = "poison"
    with pytest.raises(BundleError, match=f"^{GOLDEN}: its texts cannot be scored"):
        load(resealed(bundle, GOLDEN, json.dumps(vectors).encode()))


def test_padding_outside_the_vocabulary_is_refused(make_bundle: Any, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=f"^{TOKENIZER}: its last id is .* pads with 100000"):
        load(make_bundle(tmp_path, tokenizer=TokenizerLimits(max_tokens=64, pad_id=100_000)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda given: given.pop("mean"), "mean"),
        (lambda given: given.update(mean=given["mean"][:-1]), "whitening"),
        (lambda given: given.update(null=given["null"] * np.nan), "null"),
        (lambda given: given.update(null=given["null"] * 1e300), ""),
        (
            lambda given: given.update(mean=given["mean"][:-1], whitening=given["whitening"][:-1, :-1]),
            "measures embeddings of 7 dimensions, but model.onnx gives 8",
        ),
    ],
)
def test_reference_statistics_that_do_not_fit_are_refused(
    bundle: Path, change: Callable[[dict[str, Any]], None], reason: str
) -> None:
    read = arrays.read((bundle / REFERENCE).read_bytes())
    given: dict[str, Any] = {name: array.astype(np.float64) for name, array in read.items()}
    change(given)
    np.savez(bundle / REFERENCE, **given)
    with pytest.raises(BundleError, match=f"{REFERENCE}: .*{reason}|{GOLDEN}: "):
        load(resealed(bundle, REFERENCE, (bundle / REFERENCE).read_bytes()))


@pytest.mark.parametrize("name", SEALED)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.binary(min_size=1, max_size=200))
def test_no_content_makes_loading_fail_otherwise(bundle: Path, name: str, data: bytes) -> None:
    """Sealed by whoever wrote it, so that the digests agree."""
    before = (bundle / name).read_bytes()
    with pytest.raises(BundleError, match=f"^{name}: "):
        load(resealed(bundle, name, data))
    resealed(bundle, name, before)


@pytest.mark.parametrize("name", SEALED)
def test_a_file_that_was_cut_before_sealing_is_refused(bundle: Path, name: str) -> None:
    whole = (bundle / name).read_bytes()
    whole = whole.rstrip() if name in (TOKENIZER, GOLDEN) else whole
    for end in range(1, len(whole), max(1, len(whole) // 40)):
        with pytest.raises(BundleError, match=f"^{name}: "):
            load(resealed(bundle, name, whole[:end]))


@pytest.mark.parametrize("candidates", [1, 2, 5])
def test_any_number_of_candidates_loads(make_bundle: Any, tmp_path: Path, candidates: int) -> None:
    some = decode((make_bundle(tmp_path / "a") / MANIFEST).read_bytes()).candidates[0]
    named = [type(some)(**{**_facts(some), "name": f"c{row}"}) for row in range(candidates)]
    bundle = load(make_bundle(tmp_path / "b", candidates=named))
    assert bundle.scorer(["rice", "theorem"]).quality.shape == (2, candidates)


def _facts(record: Any) -> dict[str, Any]:
    return {field: getattr(record, field) for field in record.__struct_fields__}


def test_the_model_that_was_asked_for_is_loaded_and_tried(bundle: Path) -> None:
    shutil.copy(bundle / MODEL, bundle / MODEL_FP16)
    vectors = json.loads((bundle / GOLDEN).read_bytes())
    vectors[0]["quality"][0] = 0.0
    (bundle / GOLDEN_FP16).write_text(json.dumps(vectors))
    seal(bundle, decode((bundle / MANIFEST).read_bytes()))
    stages: list[str] = []
    assert load(bundle).vectors[0].text.startswith("what")
    half = load(bundle, model=MODEL_FP16, golden=False, on_stage=stages.append)
    assert half.vectors == ()
    assert MODEL_FP16 in stages
    with pytest.raises(BundleError, match=f"^{GOLDEN_FP16}: a score differs"):
        load(bundle, model=MODEL_FP16)


def test_a_model_that_the_bundle_does_not_have(bundle: Path) -> None:
    with pytest.raises(BundleError, match=f"^{MODEL_FP16}: is not part of this bundle, which has {MODEL}"):
        load(bundle, model=MODEL_FP16)
