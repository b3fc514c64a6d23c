"""The interface between a program and the harness: samples, model, answers and their score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Accuracy:
    """The number of correct answers, or the value of a metric that does not count answers."""

    metric: str
    correct: int | None
    total: int
    measured: float = 0.0
    """Value of a metric that does not count answers."""

    @property
    def value(self) -> float:
        """The share of correct answers, from 0 to 1, or the metric's own value."""
        if self.correct is None:
            return self.measured
        return self.correct / self.total if self.total else 0.0


class Task(Protocol):
    """A program's part of a run. Only `run` and `answer` are in the measured path.

    A task whose answer is more than one integer has the members `answer_shape` and `answer_dtype`.
    """

    total_count: int
    """Number of samples of the data set."""
    performance_count: int
    """Number of samples that are in memory at once in a performance run."""

    def prepare(self, indices: npt.NDArray[np.int64]) -> Array:
        """Return the samples with these indices, ready for the model."""
        ...

    def run(self, batch: Array) -> Array:
        """Return the model's outputs for a prepared batch."""
        ...

    def answer(self, outputs: Array) -> npt.NDArray[Any]:
        """Return the answer to each sample, which LoadGen logs in accuracy mode.

        It is one 32-bit integer, unless the task has `answer_shape` and `answer_dtype`.
        """
        ...

    def score(self, answers: npt.NDArray[Any]) -> Accuracy | None:
        """Return the accuracy of the answers to all samples, in the order of the data set.

        None: only the controller computes the metric.
        """
        ...


def empty_answers(task: Task, count: int) -> Array:
    """Return an array for the answers to `count` samples, filled with -1, or 255 in bytes."""
    shape = tuple(getattr(task, "answer_shape", ()))
    dtype = np.dtype(getattr(task, "answer_dtype", np.int32))
    return np.full((count, *shape), 255 if dtype == np.uint8 else -1, dtype)
