"""TFLite, through LiteRT (ai-edge-litert) or the older tflite-runtime, which share an interface."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetmark_harness.adapters import Opening, constants, wanted_input
from fleetmark_harness.adapters.one_by_one import OneByOne
from fleetmark_harness.adapters.options import switch
from fleetmark_harness.adapters.resized_batch import open_resized
from fleetmark_harness.exit_codes import BAD_INPUT, BAD_JOB, JobError
from fleetmark_harness.operators import OperatorEvent, ProfileUnavailable

Array = npt.NDArray[Any]


class FixedBatch(Exception):
    """Raised if the graph accepts only one sample per call, even after its input was resized."""


class TfliteModel:
    """An interpreter whose input tensor is resized to the batch size."""

    def __init__(self, opening: Opening) -> None:
        """Load the model and allocate its tensors once, for full batches.

        Raises:
            FixedBatch: the output does not follow the batch size of the input.
            JobError: BAD_JOB: XNNPACK is used although the options exclude it.
        """
        batch_size = opening.batch_size
        self._package = str(opening.runtime["package"])
        xnnpack = switch(opening.options, "xnnpack", True)
        began = time.perf_counter_ns()
        self._interpreter = opening.library.Interpreter(
            model_path=str(opening.model),
            num_threads=opening.threads,
            **({} if xnnpack else {"experimental_op_resolver_type": _no_delegate(opening.library)}),
        )
        tensors = {
            str(tensor.get("name", "")): tensor for tensor in self._interpreter.get_input_details()
        }
        self.input_name = wanted_input(opening.table, list(tensors), opening.model)
        tensor = tensors[self.input_name]
        shape = [batch_size, *_sample_shape(opening, tensor)]
        # The runtime's own benchmark tool uses the shape of the file.
        self.is_resized = shape != [int(size) for size in tensor["shape"]]
        if self.is_resized:
            self._interpreter.resize_tensor_input(tensor["index"], shape)
        self._interpreter.allocate_tensors()
        self.load_ns = time.perf_counter_ns() - began
        self._inputs = {
            str(tensor.get("name", "")): tensor for tensor in self._interpreter.get_input_details()
        }
        self._input = self._inputs[self.input_name]
        self._outputs = [tensor["index"] for tensor in self._interpreter.get_output_details()]
        self._output = self._outputs[0]
        found = self._interpreter.get_output_details()[0].get("shape")
        if found is not None and batch_size > 1 and int(found[0]) != batch_size:
            raise FixedBatch(f"its output stays {[int(size) for size in found]}")
        self.samples_per_call = batch_size
        self.fixed_batch = True
        self._full = np.zeros(shape, self._input["dtype"])
        for name, (value, _) in constants(opening.table, batch_size).items():
            self._interpreter.set_tensor(self._inputs[name]["index"], value)
        self.dtype: npt.DTypeLike = self._input["dtype"]
        self.input_shape = tuple(shape[1:])
        self.version = importlib.metadata.version(self._package)
        self.provider = self._delegate()
        if not xnnpack and self.provider == "XNNPACK":
            raise JobError(
                BAD_JOB, f"{self._package} {self.version} uses XNNPACK despite xnnpack=false"
            )

    def prepare(self, values: Array) -> Array:
        """Return the values in the input's type; integer types are quantized with its scale."""
        dtype = self._input["dtype"]
        scale, zero_point = self._input["quantization"]
        if not np.issubdtype(dtype, np.integer) or not scale:
            return np.ascontiguousarray(values, dtype)
        limits = np.iinfo(dtype)
        quantized = np.rint(values / np.float32(scale)) + zero_point
        return np.ascontiguousarray(np.clip(quantized, limits.min, limits.max).astype(dtype))

    def run(self, batch: Array) -> Array:
        """Run the interpreter once; a short batch fills the first slots of a full batch."""
        count = len(batch)
        short = count != len(self._full)
        if short:
            self._full[:count] = batch
            batch = self._full
        self._interpreter.set_tensor(self._input["index"], batch)
        self._interpreter.invoke()
        output: Array = self._interpreter.get_tensor(self._output)
        return output[:count] if short else output

    def call(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Run the interpreter once and return all outputs."""
        count = len(feeds[self.input_name])
        for name, value in feeds.items():
            tensor = value
            if name == self.input_name and count != len(self._full):
                self._full[:count] = value
                tensor = self._full
            self._interpreter.set_tensor(self._inputs[name]["index"], tensor)
        self._interpreter.invoke()
        found = [self._interpreter.get_tensor(index) for index in self._outputs]
        return found if count == len(self._full) else [output[:count] for output in found]

    def operator_calls(self) -> list[list[OperatorEvent]]:
        """Raise an error: the interpreter's profiler has no Python interface.

        Raises:
            ProfileUnavailable: always.
        """
        raise ProfileUnavailable(
            f"{self._package} {self.version} offers no per-operator profile in Python"
        )

    def _delegate(self) -> str:
        # The interpreter has no public API for its delegate. The list of operators shows a
        # delegate's node as DELEGATE. No delegate is passed here, so it is the default one.
        try:
            names = {str(node["op_name"]) for node in self._interpreter._get_ops_details()}
        except (AttributeError, KeyError, TypeError):
            return "unknown"
        return "XNNPACK" if any("delegate" in name.lower() for name in names) else "builtin"


def _no_delegate(library: Any) -> Any:
    """Return the resolver without default delegates.

    Raises:
        JobError: BAD_JOB: this version does not have it.
    """
    try:
        return library.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    except AttributeError as error:
        raise JobError(
            BAD_JOB, "this version of the runtime cannot turn XNNPACK off (xnnpack=false)"
        ) from error


def _sample_shape(opening: Opening, tensor: Mapping[str, Any]) -> list[int]:
    """Return the shape of one sample: that of the graph, or of the component for open dimensions.

    Raises:
        JobError: BAD_INPUT: the graph leaves a dimension open, and the component has no shape.
    """
    # `shape` has 1 for each open dimension, where `shape_signature` has -1.
    signature = [int(size) for size in tensor.get("shape_signature", tensor["shape"])][1:]
    fixed = [int(size) for size in tensor["shape"]][1:]
    if all(size > 0 for size in signature) or len(signature) != len(fixed):
        return fixed
    given = [int(size) for size in opening.table.get("input", {}).get("shape", ())]
    if len(given) != len(signature) or not all(
        size in (-1, 0, other) for size, other in zip(signature, given, strict=True)
    ):
        raise JobError(
            BAD_INPUT,
            f"model {opening.model.name}: input {tensor.get('name', '')} has open dimensions"
            f" {signature}, and its component defines the shape {given or 'of none'}",
        )
    return given


def _graph_batch(opening: Opening) -> int:
    """Return the number of samples per call that the graph fixes; 0 if it leaves it open."""
    details = opening.library.Interpreter(model_path=str(opening.model)).get_input_details()
    tensors = {str(tensor.get("name", "")): tensor for tensor in details}
    tensor = tensors[wanted_input(opening.table, list(tensors), opening.model)]
    signature = [int(size) for size in tensor.get("shape_signature", tensor["shape"])]
    return max(0, signature[0]) if signature else 0


def open_model(opening: Opening) -> Any:
    """Open a TFLite model for the batch size, or for the batch that its graph requires."""

    def open_at(size: int) -> TfliteModel:
        return TfliteModel(replace(opening, batch_size=size))

    failures = (RuntimeError, ValueError, FixedBatch)
    try:
        return open_resized(opening, _graph_batch(opening), open_at, failures)
    except failures:
        # Many converted graphs contain a fixed batch of 1 although their input leaves it open. If
        # the file itself is invalid, the second attempt raises the same error.
        if opening.batch_size == 1:
            raise
        return OneByOne(open_at(1))
