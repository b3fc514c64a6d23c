"""What a program brings to the harness: its samples, its model, its answers and their score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Accuracy:
    """How many answers were right."""

    metric: str
    correct: int
    total: int

    @property
    def value(self) -> float:
        """Between 0 and 1."""
        return self.correct / self.total if self.total else 0.0


class Task(Protocol):
    """A program's part. Everything but `run` and `answer` is outside the measured path."""

    total_count: int
    """Samples of the data set."""
    performance_count: int
    """Samples that are in memory at once in a performance run."""

    def prepare(self, indices: npt.NDArray[np.int64]) -> Array:
        """These samples, ready for the model."""
        ...

    def run(self, batch: Array) -> Array:
        """The model's outputs for a prepared batch."""
        ...

    def answer(self, outputs: Array) -> npt.NDArray[np.integer[Any]]:
        """One whole number per sample, within 32 bits: what LoadGen logs in accuracy mode."""
        ...

    def score(self, answers: npt.NDArray[np.int32]) -> Accuracy:
        """The accuracy of answers to all samples, in the order of the data set."""
        ...
