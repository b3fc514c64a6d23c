"""A model whose graph fixes the batch at one, and adds the first sample of the batch to each.

It runs in a job's environment: `python -m tests.support.resized_models ADAPTER BATCH`, and prints
the outputs of a batch, those of the same samples alone, and the samples per call.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from fleetmark_harness.adapters import open_model
from tests.support.model_files import Node, Value, tflite_graph
from tests.support.runnable_models import Op, onnx_model

SIZE = 4
MODULES = {"tflite": "ai_edge_litert.interpreter", "opencv": "cv2"}


def first_added(adapter: str, batch: int = 1) -> bytes:
    """Return `y = x + x[0:batch]`: for the batch of the graph, each sample doubled."""
    places = [np.array(values, np.int32) for values in ([0, 0], [batch, SIZE], [1, 1])]
    ends = [Value("x", shape=(batch, SIZE))], [Value("y", shape=(batch, SIZE))]
    names = ("x", "begin", "end", "strides")
    if adapter == "tflite":
        weights = [
            Value(name, "int32", (2,), array.tobytes())
            for name, array in zip(names[1:], places, strict=True)
        ]
        nodes = [Node("STRIDED_SLICE", names, "first"), Node("ADD", ("x", "first"), "y")]
        return tflite_graph(*ends, nodes=nodes, weights=weights)
    ops = [
        Op("Slice", ("x", "begin", "end", "axes"), "first"),
        Op("Add", ("x", "first"), "y"),
    ]
    arrays = {
        "begin": np.array([0], np.int64),
        "end": np.array([batch], np.int64),
        "axes": np.array([0], np.int64),
    }
    return onnx_model(ops, *ends, arrays)


def main(name: str, batch: int, folder: Path) -> None:
    """Print the outputs of a batch and of single samples."""
    path = folder / ("model.tflite" if name == "tflite" else "model.onnx")
    path.write_bytes(first_added(name))
    package = "ai-edge-litert" if name == "tflite" else name
    runtime = {"name": name, "module": MODULES.get(name, name), "package": package}
    importlib.import_module(str(runtime["module"]))
    samples = np.arange(batch * SIZE, dtype=np.float32).reshape(batch, SIZE)
    table = {"input": {"name": "x", "shape": [SIZE]}}
    together = open_model(runtime, path, 1, batch, table)
    alone = open_model(runtime, path, 1, 1, table)
    found = {
        "together": np.array(together.run(samples)).tolist(),
        "all": np.array(together.call({"x": samples})[0]).tolist(),
        "alone": [np.array(alone.run(samples[n : n + 1]))[0].tolist() for n in range(batch)],
        "samples_per_call": together.samples_per_call,
        "doubled": (2 * samples).tolist(),
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(sys.argv[1], int(sys.argv[2]), Path(scratch))
