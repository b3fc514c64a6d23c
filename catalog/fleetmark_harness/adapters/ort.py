"""ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetmark_harness.exits import BAD_INPUT, JobError

Array = npt.NDArray[Any]


class OnnxModel:
    """An inference session with one float input and its first output."""

    def __init__(self, library: Any, model: Path, threads: int) -> None:
        """Takes what the installed build offers first; the session tells what it really uses."""
        options = library.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = library.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )
        self.version = str(library.__version__)
        self.provider = str(self._session.get_providers()[0])
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(float)":
            found = ", ".join(f"{tensor.name}: {tensor.type}" for tensor in inputs)
            raise JobError(
                BAD_INPUT, f"model {model.name} must take one float tensor, takes {found}"
            )
        self._input = inputs[0].name
        self._outputs = [self._session.get_outputs()[0].name]

    def prepare(self, values: npt.NDArray[np.float32]) -> Array:
        """Floats as they are."""
        return np.ascontiguousarray(values, np.float32)

    def run(self, batch: Array) -> Array:
        """One call of the session."""
        output: Array = self._session.run(self._outputs, {self._input: batch})[0]
        return output


def open_model(
    library: Any, runtime: Mapping[str, Any], model: Path, threads: int, batch_size: int
) -> OnnxModel:
    """An ONNX model; its batch dimension must be dynamic for a batch size above 1."""
    return OnnxModel(library, model, threads)
