"""Answers of models to labeled samples, and their accuracy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fleetmark_harness.exit_codes import BAD_INPUT, BAD_JOB, JobError
from fleetmark_harness.labeled_tensors import ExpectedOutputs, LabeledTensors, labeled_task
from fleetmark_harness.sut import checked_answers, responses
from fleetmark_harness.task import empty_answers

Array = npt.NDArray[Any]
SAMPLES = 6
METRICS = ("mae", "cosine")


class Fixed:
    """A model with one input of one number."""

    version, provider, input_name = "1", "CPU", "x"
    input_shape, dtype = (1,), np.float32
    samples_per_call, fixed_batch = 1, False

    def prepare(self, values: Array) -> Array:
        return values

    def run(self, batch: Array) -> Array:
        return batch

    def call(self, feeds: Any) -> list[Array]:
        return [feeds["x"]]


def task_of(metric: str, labels: Any = None, axis: int | None = None) -> Any:
    output = {} if axis is None else {"batch_axis": axis}
    tables: dict[str, Any] = {
        "dataset": {"samples": SAMPLES, "layout": "tensors", "labels": "y"},
        "model": {"input": {"name": "x", "shape": [1], "array": "x"}, "output": output},
        "benchmark": {"quality": {"metric": metric}},
    }
    job: Any = SimpleNamespace(table=tables.__getitem__)
    y = np.arange(SAMPLES) if labels is None else labels
    arrays = {"x": np.zeros((SAMPLES, 1), np.float32), "y": y}
    task = labeled_task(job, Fixed(), SAMPLES, arrays)
    assert isinstance(task, LabeledTensors if metric not in METRICS else ExpectedOutputs)
    return task


SCORES = hnp.arrays(
    st.sampled_from([np.float32, np.int8, np.uint8]),
    (SAMPLES, 7),
    elements=st.integers(0, 5),
)


@given(SCORES, st.integers(1, 6), st.integers(0, 1))
def test_the_answer_is_the_best_classes(scores: Array, best: int, axis: int) -> None:
    task = task_of(f"top-{best}", axis=axis)
    answers = task.answer(np.moveaxis(scores, 0, axis))
    like = empty_answers(task, SAMPLES)
    checked = checked_answers(answers, SAMPLES, like)
    assert (checked.shape, checked.dtype) == (like.shape, np.int32)
    wanted = [
        sorted(range(7), key=lambda place: (-int(row[place]), place))[:best] for row in scores
    ]
    assert checked.reshape(SAMPLES, -1).tolist() == wanted
    found = task.score(checked)
    assert found.correct == sum(n in wanted[n] for n in range(SAMPLES))


def test_a_sample_with_nan_is_never_right() -> None:
    scores = np.eye(SAMPLES, dtype=np.float32)
    scores[2, 0] = np.nan
    for metric in ("top-1", "top-3"):
        task = task_of(metric)
        assert task.score(task.answer(scores)).correct == SAMPLES - 1


def test_a_graph_that_chooses_the_class_is_taken_at_its_word() -> None:
    task = task_of("top-1")
    classes = np.array([0, 1, 2, 3, 0, 0], np.int64)
    for outputs in (classes, classes[:, None]):
        assert task.answer(outputs).tolist() == classes.tolist()
    assert task.score(task.answer(classes)).correct == 4


@pytest.mark.parametrize(
    ("metric", "shape", "dtype"),
    [
        ("top-1", (SAMPLES, 1), np.float32),
        ("top-3", (SAMPLES, 3), np.float32),
        ("top-2", (SAMPLES,), np.int64),
    ],
)
def test_outputs_with_too_few_classes_are_a_bad_input(
    metric: str, shape: tuple[int, ...], dtype: Any
) -> None:
    with pytest.raises(JobError) as caught:
        task_of(metric).answer(np.zeros(shape, dtype))
    assert caught.value.code == BAD_INPUT


def test_labels_or_metrics_that_do_not_fit_are_refused() -> None:
    for labels in (np.zeros(SAMPLES), np.zeros(SAMPLES - 1, np.int64)):
        with pytest.raises(JobError) as caught:
            task_of("top-1", labels)
        assert caught.value.code == BAD_INPUT
    with pytest.raises(JobError) as caught:
        task_of("f2")
    assert caught.value.code == BAD_JOB


def test_responses_have_the_address_and_size_of_each_answer() -> None:
    answers = np.arange(6, dtype=np.int32).reshape(2, 3)
    found = responses(lambda *parts: parts, [8, 9], answers)
    start = answers.ctypes.data
    assert found == [(8, start, 12), (9, start + 12, 12)]
    one = responses(lambda *parts: parts, [7], np.zeros(1, np.int32))
    assert one[0][2] == 4


OUTPUTS = hnp.arrays(np.float32, (SAMPLES, 2, 3), elements=st.floats(-50, 50, width=32))


@given(OUTPUTS, OUTPUTS, st.integers(0, 2))
def test_the_answer_is_the_whole_output(outputs: Array, wanted: Array, axis: int) -> None:
    for metric in METRICS:
        task = task_of(metric, wanted, axis)
        answers = checked_answers(
            task.answer(np.moveaxis(outputs, 0, axis)), SAMPLES, empty_answers(task, SAMPLES)
        )
        assert answers.dtype == np.float32
        assert np.array_equal(answers, outputs.reshape(SAMPLES, 6))
        score = task.score(answers)
        assert score.correct is None
        if metric == "mae":
            error = np.abs(outputs.astype(float) - wanted.astype(float)).mean()
            assert score.value == pytest.approx(error)
        else:
            assert -1.000001 <= score.value <= 1.000001


def test_outputs_of_another_size_or_type_are_a_bad_input() -> None:
    task = task_of("mae", np.ones((SAMPLES, 3), np.float32))
    for outputs in (np.zeros((SAMPLES, 4), np.float32), np.zeros((SAMPLES, 3), np.int8)):
        with pytest.raises(JobError) as caught:
            task.answer(outputs)
        assert caught.value.code == BAD_INPUT
    with pytest.raises(JobError, match="NaN"):
        task.score(np.full((SAMPLES, 3), np.nan, np.float32))
    with pytest.raises(JobError, match="expected outputs"):
        task_of("mae", np.ones((SAMPLES - 1, 3), np.float32))
