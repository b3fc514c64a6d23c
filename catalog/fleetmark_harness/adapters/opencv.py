"""OpenCV's DNN module: on many devices OpenCV is already installed and no other runtime is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetmark_harness.adapters import Opening
from fleetmark_harness.adapters.one_by_one import OneByOne

Array = npt.NDArray[Any]


class OpencvModel:
    """A network that takes float tensors in the layout of its ONNX file."""

    def __init__(self, opening: Opening) -> None:
        """Load the network on OpenCV's own CPU kernels."""
        library, table = opening.library, opening.table.get("input", {})
        library.setNumThreads(opening.threads)
        self._net = library.dnn.readNetFromONNX(str(opening.model))
        self._net.setPreferableBackend(library.dnn.DNN_BACKEND_OPENCV)
        self._net.setPreferableTarget(library.dnn.DNN_TARGET_CPU)
        self.quantized = any(
            name == "Quantize" or name.endswith("Int8") for name in self._net.getLayerTypes()
        )
        self._outputs = list(self._net.getUnconnectedOutLayersNames())
        self.input_name = str(table.get("name", ""))
        self.input_shape = tuple(int(size) for size in table.get("shape", ()))
        self.dtype: npt.DTypeLike = np.float32
        self.samples_per_call = opening.batch_size
        self.fixed_batch = False
        self.version = str(library.__version__)
        self.provider = "OpenCV CPU"

    def prepare(self, values: Array) -> Array:
        """Return the values as float32."""
        return np.ascontiguousarray(values, np.float32)

    def run(self, batch: Array) -> Array:
        """Run one forward pass and return the first output."""
        self._net.setInput(batch)
        output: Array = self._net.forward(self._outputs[0])
        return output

    def call(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Run one forward pass and return all outputs."""
        for name, value in feeds.items():
            self._net.setInput(value, name)
        outputs: list[Array] = list(self._net.forward(self._outputs))
        return outputs


def open_model(opening: Opening) -> OpencvModel | OneByOne:
    """Open an ONNX model with float inputs.

    Quantized layers of OpenCV 4.12 give wrong answers for batches, so such models get single
    samples.
    """
    model = OpencvModel(opening)
    if opening.batch_size > 1 and model.quantized:
        return OneByOne(OpencvModel(replace(opening, batch_size=1)))
    return model
