"""Batches of any size for models whose graph fixes the number of samples per call above one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetmark_harness.operators import OperatorEvent, operator_calls

Array = npt.NDArray[Any]


class FixedBatch:
    """An adapter that passes the samples of a batch in groups to another adapter.

    The last group is filled up: the runtime computes whole groups, `samples_per_call` samples each.
    """

    fixed_batch = True

    def __init__(self, adapter: Any, size: int, output_axis: int | None = None) -> None:
        """Wrap an adapter.

        Args:
            adapter: the adapter, which must be opened for batches of `size` samples.
            size: number of samples per call.
            output_axis: axis of the first output with the batch; None if it is not known.
        """
        self._adapter = adapter
        self._output_axis = output_axis
        self.version: str = adapter.version
        self.provider: str = adapter.provider
        self.load_ns: int | None = getattr(adapter, "load_ns", None)
        self.provider_nodes: Mapping[str, int] = getattr(adapter, "provider_nodes", {})
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
            self._by_sample(np.array(self._adapter.run(group)), self._output_axis)
            for group in self._groups(batch)
        ]
        return np.concatenate(groups)[: len(batch)]

    def call(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Call the model once per group; return all outputs, with the batch as first axis."""
        count = len(feeds[self.input_name])
        grouped = {name: list(self._groups(value)) for name, value in feeds.items()}
        each = [
            [
                self._by_sample(np.array(output), None if number else self._output_axis)
                for number, output in enumerate(
                    self._adapter.call({name: groups[place] for name, groups in grouped.items()})
                )
            ]
            for place in range(len(grouped[self.input_name]))
        ]
        return [np.concatenate(outputs)[:count] for outputs in zip(*each, strict=True)]

    def operator_calls(self) -> list[list[OperatorEvent]]:
        """Return the operators of each call of the wrapped adapter."""
        return operator_calls(self._adapter)

    def _groups(self, batch: Array) -> list[Array]:
        size = self.samples_per_call
        missing = -len(batch) % size
        if missing:
            batch = np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)])
        return [batch[first : first + size] for first in range(0, len(batch), size)]

    def _by_sample(self, output: Array, axis: int | None) -> Array:
        """Return an output with the batch as first axis; repeat one without a batch axis."""
        size = self.samples_per_call
        if axis is not None and axis < output.ndim and output.shape[axis] == size:
            return np.moveaxis(output, axis, 0)
        if size in output.shape:
            return np.moveaxis(output, output.shape.index(size), 0)
        return np.repeat(output[None], size, axis=0)
