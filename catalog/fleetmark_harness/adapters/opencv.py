"""OpenCV's DNN module: on many devices OpenCV is already installed and no other runtime is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetmark_harness.adapters import Opening
from fleetmark_harness.adapters.one_by_one import OneByOne
from fleetmark_harness.adapters.resized_batch import open_resized
from fleetmark_harness.operators import OperatorEvent, in_sequence

Array = npt.NDArray[Any]


class OpencvModel:
    """A network that takes float tensors in the layout of its ONNX file."""

    def __init__(self, opening: Opening) -> None:
        """Load the network on OpenCV's own CPU kernels."""
        library, table = opening.library, opening.table.get("input", {})
        library.setNumThreads(opening.threads)
        began = time.perf_counter_ns()
        self._net = library.dnn.readNetFromONNX(str(opening.model))
        self._net.setPreferableBackend(library.dnn.DNN_BACKEND_OPENCV)
        self._net.setPreferableTarget(library.dnn.DNN_TARGET_CPU)
        self.load_ns = time.perf_counter_ns() - began
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
        self._ticks_per_us = library.getTickFrequency() / 1e6
        self._calls: list[list[OperatorEvent]] | None = None
        if opening.profile_folder is not None:
            self._calls = []

    def prepare(self, values: Array) -> Array:
        """Return the values as float32."""
        return np.ascontiguousarray(values, np.float32)

    def run(self, batch: Array) -> Array:
        """Run one forward pass and return the first output."""
        self._net.setInput(batch)
        output: Array = self._net.forward(self._outputs[0])
        if self._calls is not None:
            self._record_layers(self._calls)
        return output

    def call(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Run one forward pass and return all outputs."""
        for name, value in feeds.items():
            self._net.setInput(value, name)
        outputs: list[Array] = list(self._net.forward(self._outputs))
        if self._calls is not None:
            self._record_layers(self._calls)
        return outputs

    def operator_calls(self) -> list[list[OperatorEvent]]:
        """Return the layers of each call since the model was opened."""
        return self._calls or []

    def _record_layers(self, calls: list[list[OperatorEvent]]) -> None:
        """Add the layers of the last call; those that were fused into others took no time."""
        net = self._net
        ticks = np.ravel(net.getPerfProfile()[1]).tolist()
        parts = (
            (name, net.getLayer(net.getLayerId(name)).type, spent / self._ticks_per_us, "")
            for name, spent in zip(net.getLayerNames(), ticks, strict=True)
            if spent
        )
        calls.append(in_sequence(parts, calls[-1] if calls else ()))


def open_model(opening: Opening) -> Any:
    """Open an ONNX model with float inputs, for the batch size or for the batch of its graph.

    OpenCV does not report which batch the graph fixes, so each model is checked. Quantized layers
    of OpenCV 4.12 give wrong answers for batches, so such models get single samples.
    """

    def open_at(size: int) -> OpencvModel:
        return OpencvModel(replace(opening, batch_size=size))

    if opening.batch_size > 1:
        model = open_at(1)
        if model.quantized:
            return OneByOne(model)
        del model
    own = int(opening.table.get("input", {}).get("batch", 1))
    return open_resized(opening, own, open_at, (opening.library.error, RuntimeError, ValueError))
