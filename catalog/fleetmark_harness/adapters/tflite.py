"""TFLite, by LiteRT (ai-edge-litert) or the former tflite-runtime: they share one interface."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class TfliteModel:
    """An interpreter whose input tensor is resized to the batch size."""

    def __init__(
        self, library: Any, package: str, model: Path, threads: int, batch_size: int
    ) -> None:
        """Tensors are allocated once, for full batches."""
        self._interpreter = library.Interpreter(model_path=str(model), num_threads=threads)
        tensor = self._interpreter.get_input_details()[0]
        shape = [batch_size, *(int(size) for size in tensor["shape"][1:])]
        if batch_size != int(tensor["shape"][0]):
            self._interpreter.resize_tensor_input(tensor["index"], shape)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]["index"]
        self._full = np.zeros(shape, self._input["dtype"])
        self.version = importlib.metadata.version(package)
        self.provider = self._delegate()

    def prepare(self, values: npt.NDArray[np.float32]) -> Array:
        """Floats as they are; for integer models quantised by the input tensor's own scale."""
        dtype = self._input["dtype"]
        if not np.issubdtype(dtype, np.integer):
            return np.ascontiguousarray(values, dtype)
        scale, zero_point = self._input["quantization"]
        limits = np.iinfo(dtype)
        quantised = np.rint(values / np.float32(scale or 1.0)) + zero_point
        return np.ascontiguousarray(np.clip(quantised, limits.min, limits.max).astype(dtype))

    def run(self, batch: Array) -> Array:
        """One call of the interpreter; a short batch fills the first places of a full one."""
        count = len(batch)
        if count != len(self._full):
            self._full[:count] = batch
            batch = self._full
        self._interpreter.set_tensor(self._input["index"], batch)
        self._interpreter.invoke()
        output: Array = self._interpreter.get_tensor(self._output)
        return output[:count]

    def _delegate(self) -> str:
        # The interpreter has no public word for what it delegated to; the list of operators does,
        # and calls a delegate's node DELEGATE. We pass none, so it is the default one.
        try:
            names = {str(node["op_name"]) for node in self._interpreter._get_ops_details()}
        except (AttributeError, KeyError, TypeError):
            return "unknown"
        return "XNNPACK" if any("delegate" in name.lower() for name in names) else "builtin"


def open_model(
    library: Any, runtime: Mapping[str, Any], model: Path, threads: int, batch_size: int
) -> TfliteModel:
    """A TFLite model for batches of `batch_size`."""
    return TfliteModel(library, str(runtime["package"]), model, threads, batch_size)
