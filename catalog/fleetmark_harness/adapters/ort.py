"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetmark_harness.adapters import Opening, constants, first_of, wanted_input
from fleetmark_harness.adapters.fixed_batch import FixedBatch
from fleetmark_harness.adapters.one_by_one import OneByOne
from fleetmark_harness.exit_codes import BAD_INPUT, JobError

Array = npt.NDArray[Any]

_TYPES = {
    "tensor(bool)": np.bool_,
    "tensor(float16)": np.float16,
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int8)": np.int8,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(uint32)": np.uint32,
    "tensor(uint64)": np.uint64,
}


class OnnxModel:
    """An inference session; samples go to one input, other inputs are constant."""

    def __init__(self, opening: Opening) -> None:
        """Open a session on the CPU execution provider.

        `provider` is the provider that the session reports.
        """
        library, model = opening.library, opening.model
        options = library.SessionOptions()
        options.intra_op_num_threads = opening.threads
        options.inter_op_num_threads = 1
        self._session = library.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )
        self.samples_per_call = opening.batch_size
        self.fixed_batch = False
        self.version = str(library.__version__)
        self.provider = str(self._session.get_providers()[0])
        inputs = {tensor.name: tensor for tensor in self._session.get_inputs()}
        self.input_name = wanted_input(opening.table, list(inputs), model)
        tensor = inputs[self.input_name]
        if tensor.type not in _TYPES:
            raise JobError(
                BAD_INPUT, f"model {model.name}: input type {tensor.type} is not supported"
            )
        self.dtype: npt.DTypeLike = _TYPES[tensor.type]
        first = tensor.shape[0] if tensor.shape else 0
        self.graph_batch = first if isinstance(first, int) and first > 0 else 0
        """The number of samples per call that the graph fixes; 0 if it leaves it open."""
        self.input_shape = tuple(
            size if isinstance(size, int) and size > 0 else 0 for size in tensor.shape[1:]
        )
        self._constants = constants(opening.table, opening.batch_size)
        self._outputs = [self._session.get_outputs()[0].name]

    def prepare(self, values: Array) -> Array:
        """Return the values unchanged, in the input's type."""
        return np.ascontiguousarray(values, self.dtype)

    def run(self, batch: Array) -> Array:
        """Run the session once and return the first output."""
        feeds = {self.input_name: batch}
        if self._constants:
            feeds.update(self._rest(feeds))
        output: Array = self._session.run(self._outputs, feeds)[0]
        return output

    def call(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Run the session once and return all outputs."""
        outputs: list[Array] = self._session.run(None, {**self._rest(feeds), **feeds})
        return outputs

    def _rest(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        count = len(feeds[self.input_name])
        return {
            name: first_of(value, count)
            for name, value in self._constants.items()
            if name not in feeds
        }


def open_model(opening: Opening) -> OnnxModel | OneByOne | FixedBatch:
    """Open an ONNX model for the batch size, or for the batch that its graph fixes."""
    model = OnnxModel(opening)
    fixed = model.graph_batch
    if fixed in (0, opening.batch_size):
        return model
    if fixed > 1 and opening.table.get("input", {}).get("batch") != fixed:
        # It may be an axis of the sample. Counted as samples, it would multiply the throughput.
        raise JobError(
            BAD_INPUT,
            f"model {opening.model.name}: the first axis of its input is fixed at {fixed}, and its"
            " component does not say that this is the batch; import it again",
        )
    del model  # two sessions of a large model may not fit
    other = OnnxModel(replace(opening, batch_size=fixed))
    return OneByOne(other) if fixed == 1 else FixedBatch(other, fixed)
