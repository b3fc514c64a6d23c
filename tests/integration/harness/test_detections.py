"""Answers of detectors."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fleetmark_harness.detections import Detections
from fleetmark_harness.exit_codes import BAD_INPUT, JobError
from fleetmark_harness.labeled_tensors import labeled_task, times_answers
from fleetmark_harness.sut import checked_answers
from fleetmark_harness.task import empty_answers
from tests.integration.harness.test_labeled_tensors import SAMPLES, Fixed

Array = npt.NDArray[Any]
COLUMNS, BEST = -2, -1


class Detector(Fixed):
    """A model of fixed outputs, whose calls compute four samples."""

    samples_per_call = 4

    def __init__(self, outputs: list[Array], fixed_batch: bool = False) -> None:
        self.outputs, self.fixed_batch, self.calls = outputs, fixed_batch, 0

    def call(self, feeds: Any) -> list[Array]:
        self.calls += 1
        count = len(feeds["x"])
        assert not self.fixed_batch or count % self.samples_per_call == 0
        return [np.concatenate([output, output])[:count] for output in self.outputs]


def task_of(spec: list[int], outputs: list[Array] | None = None, **options: Any) -> Any:
    tables: dict[str, Any] = {
        "dataset": {"samples": SAMPLES, "layout": "tensors", "labels": "y"},
        "model": {"input": {"name": "x", "shape": [1], "array": "x"}, "output": {}},
        "benchmark": {"quality": {"metric": "map"}},
    }
    arrays = {
        "x": np.zeros((SAMPLES, 1), np.float32),
        "y": np.zeros((options.pop("samples", SAMPLES), 1, 6)),
        "detections": np.array(spec, np.int64),
    }
    job: Any = SimpleNamespace(table=tables.__getitem__)
    assert times_answers(job, arrays)
    adapter: Any = Detector(outputs or [], **options)
    task = labeled_task(job, adapter, SAMPLES, arrays)
    assert isinstance(task, Detections)
    return task


ROWS = hnp.arrays(np.float32, (2, 130, 6), elements=st.integers(-1, 9))


@given(ROWS, st.integers(1, 130))
def test_the_answer_is_the_best_boxes(rows: Array, count: int) -> None:
    rows = rows[:, :count]
    rows[..., 5] = np.rint(rows[..., 5])
    task = task_of([0, COLUMNS, COLUMNS, 0, 1, 1])
    answers = checked_answers(task.answer([rows]), 2, empty_answers(task, 2))
    assert (answers.shape, answers.dtype) == ((2, 100, 6), np.float32)
    for row, found in zip(rows.tolist(), answers.tolist(), strict=True):
        kept = sorted((one for one in row if one[5] >= 0), key=lambda one: -one[4])[:100]
        wanted = [[score, number, *box] for *box, score, number in kept]
        assert found[: len(wanted)] == wanted
        assert all(one == [0, -1, 0, 0, 0, 0] for one in found[len(wanted) :])
    assert task.score(answers) is None


@given(
    hnp.arrays(np.float32, (3, 5, 4), elements=st.integers(0, 8)),
    hnp.arrays(np.float32, (3, 5), elements=st.integers(0, 8)),
    st.integers(0, 2),
    st.booleans(),
)
def test_separate_outputs_give_the_same_boxes(
    boxes: Array, scores: Array, form: int, is_unit: bool
) -> None:
    classes = np.tile(np.arange(5, dtype=np.int64), (3, 1))
    x1, y1, x2, y2 = (boxes[..., place] for place in range(4))
    shown = {
        0: boxes,
        1: np.stack([y1, x1, y2, x2], -1),
        2: np.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], -1),
    }[form]
    scale = np.array([8, 16, 8, 16] if form != 1 else [16, 8, 16, 8], np.float32)
    size = [8, 16] if is_unit else [1, 1]
    outputs = [scores, shown / scale if is_unit else shown, classes]
    answers = task_of([1, 0, 2, form, *size]).answer(outputs)
    rows = np.concatenate([boxes, scores[..., None], classes[..., None]], -1).astype(np.float32)
    wanted = task_of([0, COLUMNS, COLUMNS, 0, 1, 1]).answer([rows])
    assert np.array_equal(answers, wanted)
    # The scores of all classes for each box.
    each = np.full((3, 5, 5), -1, np.float32)
    each[:, np.arange(5), np.arange(5)] = scores
    best = task_of([1, 0, BEST, form, *size]).answer([each, outputs[1]])
    assert np.array_equal(best, wanted)
    # One sample, without a batch axis.
    single = task_of([1, 0, 2, form, *size]).answer([output[0] for output in outputs])
    assert np.array_equal(single, wanted[:1])


def test_nan_is_not_lost() -> None:
    rows = np.ones((1, 130, 6), np.float32)
    rows[0, 129, 4] = np.nan
    task = task_of([0, COLUMNS, COLUMNS, 0, 1, 1])
    assert np.isnan(task.answer([rows])[0, 0, 0])
    rows[0, 129, 4:] = (5, np.nan)
    assert np.isnan(task.answer([rows])[0, 0, 1])
    scores = np.zeros((1, 130, 3), np.float32)
    scores[0, 129, 1] = np.nan
    found = task_of([0, 1, BEST, 0, 1, 1]).answer([rows[..., :4], scores])
    assert np.isnan(found[0, 0, 0])


@pytest.mark.parametrize(
    ("spec", "outputs", "says"),
    [
        ([0, COLUMNS, COLUMNS, 0, 1, 1], [np.zeros((2, 9, 7))], r"expected \[batch, boxes, 6\]"),
        ([0, 1, 2, 0, 1, 1], [np.zeros((2, 9, 4)), np.zeros((2, 9))], "2 outputs, and no 2"),
        ([0, 1, 1, 0, 1, 1], [np.zeros((2, 9, 4)), np.zeros((2, 8))], "the scores have"),
        ([0, 1, BEST, 0, 1, 1], [np.zeros((2, 9, 4)), np.zeros((2, 8, 3))], "the scores have"),
        ([0, 1, 1, 0, 1, 1], [np.zeros(9), np.zeros((2, 8))], "the boxes have"),
    ],
)
def test_outputs_of_another_shape_are_a_bad_input(
    spec: list[int], outputs: list[Array], says: str
) -> None:
    with pytest.raises(JobError, match=says) as caught:
        task_of(spec).answer(outputs)
    assert caught.value.code == BAD_INPUT


def test_values_without_boxes_are_a_bad_input() -> None:
    with pytest.raises(JobError, match="which outputs are the boxes"):
        task_of([0, 1])
    with pytest.raises(JobError, match="no boxes of 6 samples"):
        task_of([0, COLUMNS, COLUMNS, 0, 1, 1], samples=5)


@pytest.mark.parametrize("fixed_batch", [False, True])
def test_a_run_returns_all_outputs(fixed_batch: bool) -> None:
    outputs = [np.arange(24.0).reshape(4, 1, 6), np.arange(4)]
    task = task_of([0, COLUMNS, COLUMNS, 0, 1, 1], outputs, fixed_batch=fixed_batch)
    for count in (1, 3, 4):
        found = task.run(task.prepare(np.arange(count)))
        assert [output.tolist() for output in found] == [one[:count].tolist() for one in outputs]
        assert task.answer(found).shape == (count, 100, 6)
