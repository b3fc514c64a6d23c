"""Batches for models whose graph takes one sample at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class OneByOne:
    """Gives an adapter the samples of a batch one after another."""

    def __init__(self, adapter: Any) -> None:
        """`adapter` is opened for single samples."""
        self._adapter = adapter
        self.version: str = adapter.version
        self.provider: str = adapter.provider
        self.input_name: str = adapter.input_name
        self.input_shape: tuple[int, ...] = adapter.input_shape
        self.dtype: npt.DTypeLike = adapter.dtype
        self.samples_per_call = 1

    def prepare(self, values: Array) -> Array:
        """As the adapter has it."""
        prepared: Array = self._adapter.prepare(values)
        return prepared

    def run(self, batch: Array) -> Array:
        """One call a sample; an answer is copied, for a runtime may use its memory again."""
        run = self._adapter.run
        answers = [np.array(run(batch[place : place + 1])) for place in range(len(batch))]
        return np.concatenate(answers)

    def call(self, feeds: Mapping[str, Array]) -> list[Array]:
        """One call a sample."""
        count = len(feeds[self.input_name])
        each = [
            [
                np.array(output)
                for output in self._adapter.call(
                    {name: value[place : place + 1] for name, value in feeds.items()}
                )
            ]
            for place in range(count)
        ]
        return [np.concatenate(outputs) for outputs in zip(*each, strict=True)]
