"""OpenVINO on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetmark_harness.adapters import Opening, constants, first_of, wanted_input

Array = npt.NDArray[Any]


class OpenvinoModel:
    """A compiled model and one inference request, for batches of one fixed size."""

    def __init__(self, opening: Opening) -> None:
        """Compile the model for latency, in the precision of the file."""
        library = opening.library
        core = library.Core()
        model = core.read_model(str(opening.model))
        tensors = {tensor.get_any_name(): tensor for tensor in model.inputs}
        self.input_name = wanted_input(opening.table, list(tensors), opening.model)
        tensor = tensors[self.input_name]
        given = tuple(int(size) for size in opening.table.get("input", {}).get("shape", ()))
        shape = [
            dimension.get_length() if dimension.is_static else 0
            for dimension in tensor.get_partial_shape()
        ][1:]
        self.input_shape = tuple(shape) if all(shape) else given
        self._size = opening.batch_size
        self._constants = constants(opening.table, self._size)
        model.reshape(
            {
                self.input_name: [self._size, *self.input_shape],
                **{name: list(value.shape) for name, (value, _) in self._constants.items()},
            }
        )
        # By default, newer CPUs compute float models in bf16, which would not be comparable.
        compiled = core.compile_model(
            model,
            "CPU",
            {
                "INFERENCE_NUM_THREADS": opening.threads,
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_PRECISION_HINT": "f32",
            },
        )
        self._request = compiled.create_infer_request()
        self._output = compiled.output(0)
        self._outputs = list(compiled.outputs)
        self.dtype: npt.DTypeLike = tensor.get_element_type().to_dtype()
        self.samples_per_call = opening.batch_size
        self.fixed_batch = True
        self.version = str(library.__version__).partition("-")[0]
        self.provider = str(compiled.get_property("EXECUTION_DEVICES")[0])
        self._full = np.zeros([self._size, *self.input_shape], self.dtype)

    def prepare(self, values: Array) -> Array:
        """Return the values unchanged, in the input's type."""
        return np.ascontiguousarray(values, self.dtype)

    def run(self, batch: Array) -> Array:
        """Run one inference; a short batch fills the first slots of a full batch."""
        count = len(batch)
        short = count != self._size
        if short:
            self._full[:count] = batch
            batch = self._full
        self._request.infer({self.input_name: batch, **self._rest()}, share_inputs=True)
        output: Array = self._request.get_tensor(self._output).data
        return output[:count] if short else output

    def call(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Run one inference and return all outputs; the batch must be full."""
        rest = {name: value for name, value in self._rest().items() if name not in feeds}
        self._request.infer({**rest, **feeds})
        return [np.array(self._request.get_tensor(output).data) for output in self._outputs]

    def _rest(self) -> dict[str, Array]:
        return {name: first_of(value, self._size) for name, value in self._constants.items()}


def open_model(opening: Opening) -> OpenvinoModel:
    """Open an ONNX model.

    TFLite files are not used, because OpenVINO does not report the input scale of quantized ones.
    """
    return OpenvinoModel(opening)
