"""A teacher's word: what it is taken for, and when it is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.distill import HIDDEN, taught
from export.errors import DataError
from export.lessons import Lessons
from export.network import Settings, Targets
from export.outcomes import Outcomes, read_outcomes
from export.train import Options, train
from export.unseen import Unseen, read_unseen, write_unseen

OPTIONS = Options(members=1, folds=3, dimensions=8, max_tokens=64, workers=1, network=Settings(hidden=8, steps=40))


def _given(bundle: Path | None, **other: Any) -> dict[str, Any]:
    return {"distill_from": bundle, "teacher_scores": None, "unlabelled": (), **other}


def test_labels_are_softened_and_gaps_filled() -> None:
    targets = Targets(
        np.array([[1.0, np.nan]], np.float32), np.array([[0.5, np.nan]], np.float32), (np.array([3]), np.array([1]))
    )
    said = np.array([[0.6, 0.2]], np.float32)
    lessons = Lessons(said, np.array([[30.0, 500.0]], np.float32), ("what",), said[:, ::-1], said, share=0.75)
    longest = np.array([100.0, 200.0], np.float32)
    mixed = lessons.mixed(targets, longest)
    np.testing.assert_allclose(mixed.quality, [[0.7, 0.2]], rtol=1e-6)
    np.testing.assert_allclose(mixed.lengths, [[0.35, 1.0]], rtol=1e-6)
    further = lessons.further(longest, 2)
    np.testing.assert_allclose(further.quality, [[0.2, 0.6]])
    assert [labels.tolist() for labels in further.labels] == [[-1], [-1]]


def test_a_student_takes_over_what_only_the_teacher_knows(outcomes: Outcomes) -> None:
    # Nothing in the labels says that poems of the sea are beyond both.
    sea = tuple(f"write the verse of wave tide harbour sail number {at}" for at in range(120))
    known = np.nan_to_num(outcomes.quality, nan=0.5)
    tokens = np.full((len(sea), 2), 100.0, np.float32)
    lessons = Lessons(known, outcomes.output_tokens, sea, np.full((len(sea), 2), 0.02, np.float32), tokens, share=0.5)
    words = replace(
        outcomes,
        prompts=tuple(f"{text} wave tide harbour sail" if at < 9 else text for at, text in enumerate(outcomes.prompts)),
    )
    longer = replace(OPTIONS, network=Settings(hidden=12, steps=300))
    plain, student = (train(words, replace(longer, lessons=each)) for each in (None, lessons))
    asked = ["write the verse of wave tide harbour sail number 7"]
    assert student.scores(asked, 64)[0].mean() < plain.scores(asked, 64)[0].mean() - 0.15
    # What is novel is the data's business, not the teacher's.
    assert len(student.reference["null"]) == len(outcomes)
    assert student.unseen.quality.shape == outcomes.quality.shape


def test_progress_counts_the_further_prompts(outcomes: Outcomes) -> None:
    known = np.nan_to_num(outcomes.quality, nan=0.5)
    further = tuple(f"bake bread {at}" for at in range(700))
    half = np.full((700, 2), 0.5, np.float32)
    options = replace(OPTIONS, lessons=Lessons(known, known, further, half, half))
    calls: list[int] = []
    train(outcomes, options, lambda: calls.append(1))
    assert len(calls) == options.rounds(len(outcomes)) != OPTIONS.rounds(len(outcomes))


def test_only_strangers_are_asked_of_and_each_once(
    bundle_directory: Path, fresh_outcomes: Outcomes, columns: Any, write_parquet: Any
) -> None:
    new = ["bake a new stew", "Bake  a new stew", "solve a new equation"]
    prompts = [*new, fresh_outcomes.prompts[0].upper()]
    path = write_parquet({"prompt": prompts})
    options = taught(OPTIONS, fresh_outcomes, _given(bundle_directory, unlabelled=(path, path)))
    assert options.lessons is not None
    assert options.lessons.windows == ("bake a new stew", "solve a new equation")
    assert options.lessons.further_quality[1, 0] < options.lessons.further_quality[0, 0]
    assert options.lessons.quality.shape == fresh_outcomes.quality.shape


def test_a_variant_of_a_labelled_question_is_no_stranger(
    bundle_directory: Path, columns: Any, write_parquet: Any
) -> None:
    columns["prompt"] = [f"{prompt} again" for prompt in columns["prompt"]]
    outcomes = read_outcomes(write_parquet(columns))
    path = write_parquet({"prompt": ["bake", "boil"], "group_id": [columns["group_id"][3], "new"]}, "more.parquet")
    lessons = taught(OPTIONS, outcomes, _given(bundle_directory, unlabelled=(path,))).lessons
    assert lessons is not None
    assert lessons.windows == ("boil",)


def test_candidates_may_come_in_another_order(bundle_directory: Path, columns: Any, write_parquet: Any) -> None:
    columns["prompt"] = [f"{prompt} again" for prompt in columns["prompt"]]
    path = write_parquet(columns)
    one, other = (
        taught(OPTIONS, read_outcomes(path, names), _given(bundle_directory)).lessons
        for names in (("small", "large"), ("large", "small"))
    )
    assert one is not None
    assert other is not None
    np.testing.assert_array_equal(one.quality, other.quality[:, ::-1])


def test_a_student_is_wider_than_who_learns_from_labels_alone(bundle_directory: Path, fresh_outcomes: Outcomes) -> None:
    given = _given(bundle_directory)
    assert taught(OPTIONS, fresh_outcomes, given).network == replace(OPTIONS.network, hidden=HIDDEN)
    wide = replace(OPTIONS, network=Settings(hidden=2 * HIDDEN))
    assert taught(wide, fresh_outcomes, given).network == wide.network


def test_other_candidates_are_refused(bundle_directory: Path, outcomes: Outcomes) -> None:
    with pytest.raises(DataError, match="--distill-from: the teacher knows small, large, the data small, huge"):
        taught(OPTIONS, replace(outcomes, candidates=("small", "huge")), _given(bundle_directory))


def test_a_teacher_that_saw_the_labels_must_say_what_it_thought_before(
    bundle_directory: Path, outcomes: Outcomes, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"trained on these very labels.*--teacher-scores"):
        taught(OPTIONS, outcomes, _given(bundle_directory))
    said = Unseen(np.full(outcomes.quality.shape, 0.25, np.float32), np.full(outcomes.quality.shape, 9.0, np.float32))
    write_unseen(tmp_path / "said.parquet", outcomes, said)
    options = taught(OPTIONS, outcomes, _given(bundle_directory, teacher_scores=tmp_path / "said.parquet"))
    assert options.lessons is not None
    np.testing.assert_array_equal(options.lessons.quality, said.quality)


def test_a_lesson_needs_a_teacher(outcomes: Outcomes) -> None:
    with pytest.raises(DataError, match="name the teacher with --distill-from"):
        taught(OPTIONS, outcomes, _given(None))


def test_expectations_are_found_by_prompt_and_a_missing_one_is_told(outcomes: Outcomes, tmp_path: Path) -> None:
    quality = np.linspace(0, 1, outcomes.quality.size, dtype=np.float32).reshape(outcomes.quality.shape)
    write_unseen(tmp_path / "said.parquet", outcomes, Unseen(quality, quality * 100))
    backwards = outcomes.take(np.arange(len(outcomes))[::-1])
    found = read_unseen(tmp_path / "said.parquet", backwards)
    np.testing.assert_array_equal(found.quality, quality[::-1])
    np.testing.assert_array_equal(found.output_tokens, quality[::-1] * 100)
    with pytest.raises(DataError, match=r"--teacher-scores: .* lacks prompts"):
        read_unseen(tmp_path / "said.parquet", replace(outcomes, prompts=("new", *outcomes.prompts[1:])))
