"""Answers of models with a class for each sample or position."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fleetmark_harness.class_maps import ClassMaps, class_axis
from fleetmark_harness.exit_codes import BAD_INPUT, JobError
from fleetmark_harness.labeled_tensors import labeled_task, times_answers
from fleetmark_harness.sut import checked_answers, responses
from fleetmark_harness.task import empty_answers
from tests.integration.harness.test_labeled_tensors import SAMPLES, Fixed

Array = npt.NDArray[Any]


def job_of(metric: str, axis: int | None = None) -> Any:
    output = {} if axis is None else {"batch_axis": axis}
    tables: dict[str, Any] = {
        "dataset": {"samples": SAMPLES, "layout": "tensors", "labels": "y"},
        "model": {"input": {"name": "x", "shape": [1], "array": "x"}, "output": output},
        "benchmark": {"quality": {"metric": metric}},
    }
    return SimpleNamespace(table=tables.__getitem__)


def task_of(labels: Array, metric: str = "miou", axis: int | None = None) -> Any:
    arrays = {"x": np.zeros((SAMPLES, 1), np.float32), "y": labels}
    adapter: Any = Fixed()
    task = labeled_task(job_of(metric, axis), adapter, SAMPLES, arrays)
    assert isinstance(task, ClassMaps)
    return task


SCORES = hnp.arrays(
    st.sampled_from([np.float32, np.float16, np.int8, np.uint8]),
    (SAMPLES, 5, 2, 3),
    elements=st.integers(0, 4),
)


@given(SCORES, st.integers(0, 3), st.sampled_from([np.uint8, np.int32]), st.integers(0, 1))
def test_the_answer_is_the_best_class_of_each_position(
    scores: Array, place: int, dtype: Any, axis: int
) -> None:
    labels = np.zeros((SAMPLES, 2, 3), dtype)
    task = task_of(labels, axis=axis)
    place = min(place, 2) + 1
    given_outputs = np.moveaxis(np.moveaxis(scores, 1, place), 0, axis)
    like = empty_answers(task, SAMPLES)
    answers = checked_answers(task.answer(given_outputs), SAMPLES, like)
    assert (answers.dtype, answers.shape) == (np.dtype(dtype), (SAMPLES, 6))
    for sample in range(SAMPLES):
        rows = scores[sample].reshape(5, -1).T
        wanted = [max(range(5), key=lambda one, row=row: (row[one], -one)) for row in rows]
        assert answers[sample].tolist() == wanted
    assert task.score(answers) is None
    ends = responses(lambda *parts: parts, range(SAMPLES), answers)
    assert ends[0][2] == 6 * np.dtype(dtype).itemsize


@pytest.mark.parametrize(("dtype", "none"), [(np.uint8, 255), (np.int32, -1)])
def test_a_position_with_nan_has_no_class(dtype: Any, none: int) -> None:
    scores = np.zeros((SAMPLES, 4, 2), np.float32)
    scores[:, 2] = 1
    scores[0, 1, 1] = np.nan
    answers = task_of(np.zeros((SAMPLES, 2), dtype), "f1").answer(scores)
    assert answers[0].tolist() == [2, none]
    assert answers[1].tolist() == [2, 2]
    assert empty_answers(task_of(np.zeros((SAMPLES, 2), dtype)), 1).tolist() == [[none, none]]


def test_an_output_that_is_the_map_of_classes_is_kept() -> None:
    for shape in ((SAMPLES, 2, 3), (SAMPLES, 1, 2, 3), (SAMPLES, 2, 3, 1)):
        task = task_of(np.zeros((SAMPLES, 2, 3), np.uint8))
        outputs = np.arange(SAMPLES * 6).reshape(shape)
        assert task.answer(outputs).tolist() == np.arange(SAMPLES * 6).reshape(-1, 6).tolist()
        for wrong in (-1, 256, 300):
            outputs.flat[3] = wrong
            with pytest.raises(JobError, match=f"class {wrong}, expected 0 to 254, or 255"):
                task.answer(outputs)


@pytest.mark.parametrize(("dtype", "none"), [(np.uint8, 255), (np.int32, -1)])
def test_a_map_may_mark_positions_without_class(dtype: Any, none: int) -> None:
    outputs = np.zeros((SAMPLES, 2, 3), np.int64)
    outputs[0, 1, 2] = none
    answers = task_of(np.zeros((SAMPLES, 2, 3), dtype)).answer(outputs)
    assert answers[0].tolist() == [0, 0, 0, 0, 0, none]
    outputs[0, 1, 2] = min(none, 0) - 1
    with pytest.raises(JobError, match=f"or {none} for no class"):
        task_of(np.zeros((SAMPLES, 2, 3), dtype)).answer(outputs)


def test_one_class_for_each_sample() -> None:
    task = task_of(np.zeros(SAMPLES, np.uint8), "f1")
    answers = task.answer(np.eye(SAMPLES, 7, dtype=np.float32))
    assert answers.tolist() == list(range(SAMPLES))
    assert empty_answers(task, 2).tolist() == [255, 255]


@pytest.mark.parametrize(
    ("sizes", "labels", "is_float"),
    [
        ((4, 4, 4), (4, 4), True),
        ((2, 3), (2, 3), True),
        ((1, 2, 3), (2, 3), True),
        ((5, 2, 4), (2, 3), True),
        ((2, 3, 5, 1), (2, 3), False),
    ],
)
def test_outputs_that_do_not_fit_are_a_bad_input(
    sizes: tuple[int, ...], labels: tuple[int, ...], is_float: bool
) -> None:
    with pytest.raises(JobError, match="does not fit its labels") as caught:
        class_axis(sizes, labels, is_float)
    assert caught.value.code == BAD_INPUT


def test_labels_and_outputs_of_another_size_are_a_bad_input() -> None:
    for labels in (np.zeros((SAMPLES - 1, 2), np.uint8), np.zeros((SAMPLES, 2), np.int64)):
        with pytest.raises(JobError, match="no 6 label maps"):
            task_of(labels)
    with pytest.raises(JobError, match="no batch axis"):
        task_of(np.zeros((SAMPLES, 2), np.uint8), axis=1).answer(np.zeros(3))
    with pytest.raises(JobError, match="256 classes, expected at most 255"):
        task_of(np.zeros((SAMPLES, 2), np.uint8)).answer(np.zeros((SAMPLES, 2, 256), np.float32))


def test_performance_runs_have_the_answers_of_such_metrics_only() -> None:
    maps, classes = np.zeros((SAMPLES, 2), np.uint8), np.zeros(SAMPLES, np.int64)
    for metric, labels, wanted in (
        ("miou", maps, True),
        ("f1", maps, True),
        ("top-1", maps, True),
        ("top-1", classes, False),
        ("top-5", classes, False),
        ("mae", np.zeros((SAMPLES, 2), np.float32), False),
    ):
        assert times_answers(job_of(metric), {"y": labels}) is wanted
