"""OpenVINO on the CPU."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetmark_harness.adapters import Opening, constants, first_of, wanted_input
from fleetmark_harness.adapters.options import choice, count, switch
from fleetmark_harness.adapters.resized_batch import open_resized
from fleetmark_harness.exit_codes import BAD_JOB, JobError
from fleetmark_harness.operators import MAX_EVENTS, OperatorEvent, ProfileUnavailable, in_sequence

Array = npt.NDArray[Any]

_HINTS = {"latency": "LATENCY", "throughput": "THROUGHPUT"}
_PRECISIONS = {"f32": "f32", "f16": "f16", "bf16": "bf16"}


class OpenvinoModel:
    """A compiled model and one inference request, for batches of one fixed size."""

    def __init__(self, opening: Opening) -> None:
        """Compile the model, by default for latency and in the precision of the file.

        Raises:
            JobError: BAD_JOB: an option is not valid, or the CPU does not compute in the precision
                of the options.
        """
        library = opening.library
        began = time.perf_counter_ns()
        core = library.Core()
        # By default, weights in files beside the graph stay in the file and are read when needed.
        core.set_property({"ENABLE_MMAP": switch(opening.options, "mmap", True)})
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
        precision = choice(opening.options, "inference_precision", _PRECISIONS, "f32")
        compiled = core.compile_model(model, "CPU", _properties(opening, precision))
        self.load_ns = time.perf_counter_ns() - began
        used = str(compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())
        if used != precision:
            # OpenVINO replaces a precision that the CPU does not support without notice.
            raise JobError(
                BAD_JOB,
                f"this CPU does not compute in inference_precision={precision}: OpenVINO uses"
                f" {used}",
            )
        self._request = compiled.create_infer_request()
        self._calls: list[list[OperatorEvent]] | None = None
        if opening.profile_folder is not None:
            self._calls = []
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
        if self._calls is not None:
            self._record_operators(self._calls)
        output: Array = self._request.get_tensor(self._output).data
        return output[:count] if short else output

    def call(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Run one inference and return all outputs; the batch must be full."""
        rest = {name: value for name, value in self._rest().items() if name not in feeds}
        # Without share_inputs, the values would be copied into the memory that `run` shared: the
        # samples of its caller.
        self._request.infer({**rest, **feeds}, share_inputs=True)
        if self._calls is not None:
            self._record_operators(self._calls)
        return [np.array(self._request.get_tensor(output).data) for output in self._outputs]

    def operator_calls(self) -> list[list[OperatorEvent]]:
        """Return the operators of each call since the model was opened.

        Raises:
            ProfileUnavailable: there are too many.
        """
        calls = self._calls or []
        if sum(map(len, calls)) > MAX_EVENTS:
            raise ProfileUnavailable(f"the profile has more than {MAX_EVENTS} events")
        return calls

    def _record_operators(self, calls: list[list[OperatorEvent]]) -> None:
        """Add the operators of the last call."""
        parts = (
            (part.node_name, part.node_type, part.real_time.total_seconds() * 1e6, part.exec_type)
            for part in self._request.get_profiling_info()
            if str(part.status).endswith("EXECUTED")
        )
        calls.append(in_sequence(parts, calls[-1] if calls else ()))

    def _rest(self) -> dict[str, Array]:
        return {name: first_of(value, self._size) for name, value in self._constants.items()}


def _properties(opening: Opening, precision: str) -> dict[str, Any]:
    """Return the properties that a model is compiled with.

    Raises:
        JobError: BAD_JOB.
    """
    properties: dict[str, Any] = {
        "INFERENCE_NUM_THREADS": opening.threads,
        "PERFORMANCE_HINT": choice(opening.options, "performance_hint", _HINTS, "latency"),
        # By default, newer CPUs compute float models in bf16, which would not be comparable.
        "INFERENCE_PRECISION_HINT": precision,
    }
    if "num_streams" in opening.options:
        properties["NUM_STREAMS"] = count(opening.options, "num_streams", 1)
    if opening.profile_folder is not None:
        properties["PERF_COUNT"] = True
    return properties


def _graph_batch(opening: Opening) -> int:
    """Return the number of samples per call that the graph fixes; 0 if it leaves it open."""
    model = opening.library.Core().read_model(str(opening.model))
    tensors = {tensor.get_any_name(): tensor for tensor in model.inputs}
    name = wanted_input(opening.table, list(tensors), opening.model)
    sizes = list(tensors[name].get_partial_shape())
    return int(sizes[0].get_length()) if sizes and sizes[0].is_static else 0


def open_model(opening: Opening) -> Any:
    """Open an ONNX model for the batch size, or for the batch that its graph requires.

    TFLite files are not used, because OpenVINO does not report the input scale of quantized ones.
    """

    def open_at(size: int) -> OpenvinoModel:
        return OpenvinoModel(replace(opening, batch_size=size))

    return open_resized(opening, _graph_batch(opening), open_at, (RuntimeError, ValueError))
