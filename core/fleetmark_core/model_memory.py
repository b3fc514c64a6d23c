"""Predicts the memory of a job's runtime, model and data set; a part of `resource_model`. Pure.

See the docstring of `resource_model` for the origin of the constants. A model component may declare
the memory that a call was measured to need when the model was imported:
`footprint = { peak_memory_bytes = …, batch = … }`, the peak resident memory of a process that
opened the model and called it once with `batch` samples. What the parts known to this module do
not explain of it is divided by `batch`: it grows with the samples of a call.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from fleetmark_core.lockfile import Lockfile

MB = 1_000_000
HARNESS_BYTES = 42 * MB
"""33 MB with NumPy 2, 41 MB with NumPy 1.26."""
RUNTIME_BYTES = 120 * MB
"""A runtime whose component declares no `memory_bytes`: more than any in the catalog."""
MODEL_COPIES = 3
"""ONNX Runtime holds the file, the parsed weights and the packed weights while it opens a model."""
ARENA_FACTOR = 16
"""Layers widen an image's channels and halve its sides: 3 to 5 times in the catalog's models."""
SMALL_INPUT_BYTES, SMALL_ARENA_FACTOR = 16_384, 96
"""A small input is not halved at once: 64 channels at its resolution, plus the next layer's."""
CALIBRATION_SAMPLES = 64
"""Equals `_KEPT_SAMPLES` of fleetmark_harness.calibrate: held once as samples and once as batches.
"""
PREPARED_COPIES = 3
"""Preparation in float32: converted, scaled, and converted to the model's type."""

_ITEM_BYTES = {
    **{"uint8": 1, "int8": 1, "bool": 1, "int16": 2, "uint16": 2, "float16": 2},
    **{"int64": 8, "uint64": 8, "float64": 8},
}


def runtime_bytes(tables: Mapping[str, Any]) -> int:
    """Return the memory of a runtime that has opened a model of size zero."""
    if "runtime" not in tables:
        return 0
    return whole(table(tables, "runtime").get("memory_bytes")) or RUNTIME_BYTES


def arena_guess(input_bytes: int) -> int:
    """Return the estimated tensor memory per sample of a model without a measured `arena_bytes`."""
    small = SMALL_ARENA_FACTOR * min(input_bytes, SMALL_INPUT_BYTES)
    return max(small, ARENA_FACTOR * input_bytes)


def whole_calls(model: Mapping[str, Any], batch: int) -> int:
    """Return the samples of a batch, with those that fill up its last call.

    A graph that fixes its batch (`input.batch`) computes that many samples in each call.
    """
    size = whole(table(model, "input").get("batch")) or 1
    return -(-batch // size) * size


def model_bytes(lock: Lockfile, batch: int) -> int:
    """Return the memory of an open model, and of its tensors while it computes `batch` samples."""
    tables = lock.job
    model, dataset = table(tables, "model"), table(tables, "dataset")
    arena = whole(model.get("arena_bytes"))
    if not arena:
        arena = arena_guess(_elements(model, dataset) * _item_bytes(model))
    loaded = input_bytes(lock, "model") * MODEL_COPIES
    footprint = table(model, "footprint")
    explained = HARNESS_BYTES + runtime_bytes(tables) + loaded
    beyond = whole(footprint.get("peak_memory_bytes")) - explained
    if beyond > 0:
        arena = max(arena, -(-beyond // (whole(footprint.get("batch")) or 1)))
    at_once = 1 if model.get("fixed_batch") else whole_calls(model, batch)
    return loaded + arena * at_once


def is_declared(model: Mapping[str, Any]) -> bool:
    """Return whether the component states the memory of a call, so that it is not guessed."""
    return bool(
        whole(model.get("arena_bytes")) or whole(table(model, "footprint").get("peak_memory_bytes"))
    )


def data_bytes(lock: Lockfile, total: int, loaded: int, batch: int) -> int:
    """Return the size of the data set with labels and answers, and of the prepared samples.

    Args:
        lock: the lockfile.
        total: the number of samples of the data set.
        loaded: the number of samples that LoadGen loads at once.
        batch: the number of samples per call.
    """
    model, dataset = table(lock.job, "model"), table(lock.job, "dataset")
    batch = whole_calls(model, batch)
    # A streaming model takes one window at a time, which is smaller than a sample.
    elements = max(_elements(model, dataset), _stored_elements(dataset))
    calibrating = max(CALIBRATION_SAMPLES, batch) + max(CALIBRATION_SAMPLES, 2 * batch)
    # Labels as int64, answers as int32, and the slot of each sample in an array and in a list.
    counted = total * (8 + 4 + 8 + 40)
    if dataset.get("layout") == "random":
        samples = max(calibrating, loaded) + 2 * batch
        return counted + samples * elements * _item_bytes(model)
    stored = total * _stored_elements(dataset) * _ITEM_BYTES.get(str(dataset.get("dtype")), 1)
    # Pictures are decoded one by one and then stacked; CIFAR's planes are transposed.
    copies = 2 if dataset.get("layout") in ("pictures", "cifar") else 1
    samples = max(min(calibrating, loaded + batch), loaded * PREPARED_COPIES) + 2 * batch
    return counted + max(stored, input_bytes(lock, "dataset")) * copies + samples * elements * 4


def input_bytes(lock: Lockfile, name: str) -> int:
    """Return the size of an input's file; 0 if the job has no such input."""
    blob = lock.inputs.get(name)
    return blob.size_bytes if blob is not None else 0


def table(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the table `name`; an empty one if it is missing or not a table."""
    found = values.get(name)
    return found if isinstance(found, dict) else {}


def whole(value: object) -> int:
    """Return `value` if it is an integer above 0, otherwise 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _elements(model: Mapping[str, Any], dataset: Mapping[str, Any]) -> int:
    shape = table(model, "input").get("shape")
    return prod(int(side) for side in shape) if shape else _stored_elements(dataset)


def _stored_elements(dataset: Mapping[str, Any]) -> int:
    shape = dataset.get("shape")
    return prod(int(side) for side in shape) if shape else 0


def _item_bytes(model: Mapping[str, Any]) -> int:
    return _ITEM_BYTES.get(str(table(model, "input").get("dtype")), 4)
