from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.bundle import golden
from sidecar.bundle.golden import GoldenVector
from sidecar.bundle.manifest import GOLDEN
from sidecar.errors import BundleError, RouterError
from sidecar.types import Scores

VECTORS = (GoldenVector("one", (0.25, 0.75), 0.5), GoldenVector("three", (0.5, 1.0), 0.0))


def scoring(change: Callable[[Scores, int], Scores] = lambda scores, rows: scores) -> Callable[[Sequence[str]], Scores]:
    expected = {vector.text: vector for vector in VECTORS}

    def score(texts: Sequence[str]) -> Scores:
        vectors = [expected[text] for text in texts]
        scores = Scores(
            np.array([vector.quality for vector in vectors], np.float32),
            np.full((len(texts), 2), 10.0, np.float32),
            np.array([vector.novelty for vector in vectors], np.float32),
            0.0,
            0.0,
        )
        return change(scores, len(texts))

    return score


def test_what_is_written_is_read() -> None:
    assert golden.read(golden.write(VECTORS), 2) == VECTORS


def test_what_is_recorded_passes_the_check() -> None:
    scorer = scoring()
    golden.check(golden.record(scorer, ["one", "three"]), scorer, 1e-6)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda scores, rows: scores._replace(quality=scores.quality * 0.99),
            r"differs by .* - at `\$\[0\] in a batch`",
        ),
        (lambda scores, rows: scores._replace(novelty=scores.novelty + 0.01), r"differs by 0.01"),
        (lambda scores, rows: scores._replace(quality=scores.quality * np.nan), r"outside \[0, 1\]"),
        (lambda scores, rows: scores._replace(quality=scores.quality * 1.001), r"outside \[0, 1\]|differs"),
        (lambda scores, rows: scores._replace(novelty=scores.novelty - 0.0001), r"outside \[0, 1\] - at `\$\[1\]"),
        (lambda scores, rows: scores._replace(output_tokens=-scores.output_tokens), r"output tokens are negative"),
        (lambda scores, rows: scores._replace(output_tokens=scores.output_tokens * np.inf), r"not finite"),
        (
            lambda scores, rows: scores._replace(quality=scores.quality * (0.9 if rows == 1 else 1.0)),
            r"differs by .* - at `\$\[0\] alone`",
        ),
        (lambda scores, rows: scores._replace(quality=scores.quality[::-1]), r"differs by 0.25"),
    ],
)
def test_another_score_is_refused(change: Callable[[Scores, int], Scores], reason: str) -> None:
    with pytest.raises(BundleError, match=f"^{GOLDEN}: .*({reason})"):
        golden.check(VECTORS, scoring(change), 1e-3)


def test_a_score_within_the_tolerance_passes() -> None:
    golden.check(VECTORS, scoring(lambda scores, rows: scores._replace(quality=scores.quality * 0.9995)), 1e-3)


def test_a_failing_scorer_is_a_refusal() -> None:
    def fail(texts: Sequence[str]) -> Scores:
        raise RouterError("no")

    with pytest.raises(BundleError, match=f"^{GOLDEN}: its texts cannot be scored: no"):
        golden.check(VECTORS, fail, 1e-3)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"[]", "length >= 1"),
        (b"{}", "Expected `array`"),
        (b'[{"text":"a","quality":[0.1,0.2]}]', r"missing required field `novelty` - at `\$\[0\]`"),
        (b'[{"text":"a","quality":[0.1,0.2],"novelty":0.5,"x":1}]', r"unknown field `x` - at `\$\[0\]`"),
        (b'[{"text":"a","quality":[0.1,1.2],"novelty":0.5}]', r"at `\$\[0\].quality\[1\]`"),
        (b'[{"text":"a","quality":[0.1,NaN],"novelty":0.5}]', r"malformed"),
        (b'[{"text":"a","quality":[0.1,0.2],"novelty":-0.5}]', r"at `\$\[0\].novelty`"),
        (b'[{"text":"","quality":[0.1,0.2],"novelty":0.5}]', r"at `\$\[0\].text`"),
        (b'[{"text":"a","quality":[0.1],"novelty":0.5}]', r"has 1 qualities .* 2 candidates - at `\$\[0\].quality`"),
    ],
)
def test_a_wrong_file_is_refused_with_the_path_of_the_key(data: bytes, reason: str) -> None:
    with pytest.raises(BundleError, match=f"^{GOLDEN}: .*{reason}"):
        golden.read(data, 2)


def test_too_many_vectors_are_refused() -> None:
    data = msgspec.json.encode([VECTORS[0]] * (golden.MAX_VECTORS + 1))
    with pytest.raises(BundleError, match=f"^{GOLDEN}: .*length <= {golden.MAX_VECTORS}"):
        golden.read(data, 2)


def test_a_cut_file_is_refused() -> None:
    data = golden.write(VECTORS).rstrip()
    for end in range(len(data)):
        with pytest.raises(BundleError, match=f"^{GOLDEN}: "):
            golden.read(data[:end], 2)


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_no_bytes_make_reading_fail_otherwise(data: bytes) -> None:
    with pytest.raises(BundleError, match=f"^{GOLDEN}: "):
        golden.read(data, 2)
