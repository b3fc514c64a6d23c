"""The interface between a program and the harness: samples, model, answers and their score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Accuracy:
    """The number of correct answers."""

    metric: str
    correct: int
    total: int

    @property
    def value(self) -> float:
        """The share of correct answers, from 0 to 1."""
        return self.correct / self.total if self.total else 0.0


class Task(Protocol):
    """A program's part of a run. Only `run` and `answer` are in the measured path."""

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

    def answer(self, outputs: Array) -> npt.NDArray[np.integer[Any]]:
        """Return one 32-bit integer per sample, which LoadGen logs in accuracy mode."""
        ...

    def score(self, answers: npt.NDArray[np.int32]) -> Accuracy:
        """Return the accuracy of the answers to all samples, in the order of the data set."""
        ...
