"""Batches of any size for models whose graph fixes the number of samples per call above one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class FixedBatch:
    """An adapter that passes the samples of a batch in groups to another adapter.

    The last group is filled up: the runtime computes whole groups, `samples_per_call` samples each.
    """

    fixed_batch = True

    def __init__(self, adapter: Any, size: int) -> None:
        """Wrap `adapter`, which must be opened for batches of `size` samples."""
        self._adapter = adapter
        self.version: str = adapter.version
        self.provider: str = adapter.provider
        self.input_name: str = adapter.input_name
        self.input_shape: tuple[int, ...] = adapter.input_shape
        self.dtype: npt.DTypeLike = adapter.dtype
        self.samples_per_call = size

    def prepare(self, values: Array) -> Array:
        """Return the values as the wrapped adapter prepares them."""
        prepared: Array = self._adapter.prepare(values)
        return prepared

    def run(self, batch: Array) -> Array:
        """Call the model once per group; return the outputs, with the batch as first axis."""
        groups = [
            self._by_sample(np.array(self._adapter.run(group))) for group in self._groups(batch)
        ]
        return np.concatenate(groups)[: len(batch)]

    def call(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Call the model once per group; return all outputs, with the batch as first axis."""
        count = len(feeds[self.input_name])
        grouped = {name: list(self._groups(value)) for name, value in feeds.items()}
        each = [
            [
                self._by_sample(np.array(output))
                for output in self._adapter.call(
                    {name: groups[place] for name, groups in grouped.items()}
                )
            ]
            for place in range(len(grouped[self.input_name]))
        ]
        return [np.concatenate(outputs)[:count] for outputs in zip(*each, strict=True)]

    def _groups(self, batch: Array) -> list[Array]:
        size = self.samples_per_call
        missing = -len(batch) % size
        if missing:
            batch = np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)])
        return [batch[first : first + size] for first in range(0, len(batch), size)]

    def _by_sample(self, output: Array) -> Array:
        """Return an output with the batch as first axis; repeat one without a batch axis."""
        size = self.samples_per_call
        if size in output.shape:
            return np.moveaxis(output, output.shape.index(size), 0)
        return np.repeat(output[None], size, axis=0)
