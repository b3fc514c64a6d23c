"""Answers of models that give a token for each step."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fleetmark_harness.exit_codes import BAD_INPUT, JobError
from fleetmark_harness.labeled_tensors import labeled_task, times_answers
from fleetmark_harness.sut import checked_answers
from fleetmark_harness.task import empty_answers
from fleetmark_harness.token_steps import TokenSteps
from tests.integration.harness.test_labeled_tensors import SAMPLES, Fixed

Array = npt.NDArray[Any]
TOKENS, STEPS = 5, 4


def task_of(shape: tuple[int, ...], samples: int = SAMPLES, axis: int | None = None) -> TokenSteps:
    output: dict[str, Any] = {"shape": list(shape)} if shape else {}
    output |= {} if axis is None else {"batch_axis": axis}
    tables: dict[str, Any] = {
        "dataset": {"samples": SAMPLES, "layout": "tensors", "labels": "y"},
        "model": {"input": {"name": "x", "shape": [1], "array": "x"}, "output": output},
        "benchmark": {"quality": {"metric": "wer"}},
    }
    arrays = {
        "x": np.zeros((SAMPLES, 1), np.float32),
        "y-ends": np.arange(samples),
        "vocabulary-ends": np.arange(TOKENS),
    }
    job: Any = SimpleNamespace(table=tables.__getitem__)
    adapter: Any = Fixed()
    assert times_answers(job, arrays)
    task = labeled_task(job, adapter, SAMPLES, arrays)
    assert isinstance(task, TokenSteps)
    return task


SCORES = hnp.arrays(
    st.sampled_from([np.float32, np.int8]), (SAMPLES, STEPS, TOKENS), elements=st.integers(0, 3)
)


@given(SCORES, st.booleans(), st.integers(0, 1))
def test_the_answer_is_the_best_token_of_each_step(
    scores: Array, is_turned: bool, axis: int
) -> None:
    outputs = scores.transpose(0, 2, 1) if is_turned else scores
    task = task_of(outputs.shape[1:], axis=axis)
    answers = checked_answers(
        task.answer(np.moveaxis(outputs, 0, axis)), SAMPLES, empty_answers(task, SAMPLES)
    )
    assert (answers.shape, answers.dtype) == ((SAMPLES, STEPS), np.int32)
    for sample in range(SAMPLES):
        wanted = [
            max(range(TOKENS), key=lambda one, row=row: (row[one], -one))
            for row in scores[sample].tolist()
        ]
        assert answers[sample].tolist() == wanted
    assert task.score(answers) is None


def test_a_step_with_nan_has_no_token() -> None:
    scores = np.zeros((SAMPLES, STEPS, TOKENS), np.float32)
    scores[0, 1, 3] = np.nan
    answers = task_of((STEPS, TOKENS)).answer(scores)
    assert answers[0].tolist() == [0, -1, 0, 0]
    assert answers[1].tolist() == [0, 0, 0, 0]


def test_tokens_themselves_are_kept() -> None:
    task = task_of((STEPS,))
    tokens = np.arange(SAMPLES * STEPS).reshape(SAMPLES, STEPS)
    assert task.answer(tokens).tolist() == tokens.tolist()
    with pytest.raises(JobError, match="expected integers"):
        task.answer(tokens.astype(np.float32))


def test_outputs_and_values_that_do_not_fit_are_a_bad_input() -> None:
    with pytest.raises(JobError, match="samples of another shape"):
        task_of((STEPS, TOKENS)).answer(np.zeros((SAMPLES, STEPS + 1, TOKENS)))
    for arguments, says in (
        (((STEPS, TOKENS), SAMPLES - 1), "no 6 transcripts"),
        (((),), "size of the model's output is not known"),
        (((STEPS, TOKENS + 1),), "does not fit 5 tokens"),
        (((TOKENS, TOKENS),), "2 axes that may be those of the tokens"),
    ):
        with pytest.raises(JobError, match=says) as caught:
            task_of(*arguments)  # type: ignore[arg-type]
        assert caught.value.code == BAD_INPUT
