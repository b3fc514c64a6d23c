"""Batches for models whose graph accepts only one sample per call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetmark_harness.exit_codes import BAD_INPUT, JobError
from fleetmark_harness.operators import OperatorEvent, operator_calls

Array = npt.NDArray[Any]


class OneByOne:
    """An adapter that passes the samples of a batch one by one to another adapter."""

    def __init__(self, adapter: Any) -> None:
        """Wrap `adapter`, which must be opened for single samples."""
        self._adapter = adapter
        self.version: str = adapter.version
        self.provider: str = adapter.provider
        self.load_ns: int | None = getattr(adapter, "load_ns", None)
        self.provider_nodes: Mapping[str, int] = getattr(adapter, "provider_nodes", {})
        self.input_name: str = adapter.input_name
        self.input_shape: tuple[int, ...] = adapter.input_shape
        self.dtype: npt.DTypeLike = adapter.dtype
        self.samples_per_call = 1
        self.fixed_batch = False

    def prepare(self, values: Array) -> Array:
        """Return the values as the wrapped adapter prepares them."""
        prepared: Array = self._adapter.prepare(values)
        return prepared

    def run(self, batch: Array) -> Array:
        """Call the model once per sample.

        Each output is copied, because a runtime may reuse its memory in the next call.
        """
        run = self._adapter.run
        answers = [np.array(run(batch[place : place + 1])) for place in range(len(batch))]
        return _joined(answers)

    def operator_calls(self) -> list[list[OperatorEvent]]:
        """Return the operators of each call of the wrapped adapter."""
        return operator_calls(self._adapter)

    def call(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Call the model once per sample and return all outputs."""
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
        return [_joined(outputs) for outputs in zip(*each, strict=True)]


def _joined(outputs: Sequence[Array]) -> Array:
    """Return the outputs of single samples as one array [N, …].

    An output whose first axis has size 1 is taken as one with a batch axis.

    Raises:
        JobError: BAD_INPUT: the outputs have different shapes, such as those of detectors with
            another number of boxes for each sample.
    """
    other = next((output for output in outputs if output.shape != outputs[0].shape), None)
    if other is not None:
        shapes = f"{list(outputs[0].shape)} and {list(other.shape)}"
        what = f"an output has another shape for each sample, {shapes}, and makes no batch"
        raise JobError(BAD_INPUT, f"{what}; run the model with batch_size=1")
    if outputs[0].ndim and len(outputs[0]) == 1:
        return np.concatenate(outputs)
    return np.stack(outputs)
