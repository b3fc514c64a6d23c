"""Values of a model's inputs: random numbers, arrays of a file, or samples of a data set.

The same seed gives the same samples on every device.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fleetmark_harness.data import read_labeled
from fleetmark_harness.exit_codes import BAD_INPUT, JobError
from fleetmark_harness.job import JobSpec

Array = npt.NDArray[Any]
RANDOM, STORED = "random", "tensors"
"""Layouts of data sets: random samples, and a NumPy archive of arrays that `array` keys name."""


class Feeds:
    """Samples of several inputs, which are selected together as the rows of one array are."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        """Hold one array per input; the first axis of each has the samples."""
        self.arrays = dict(arrays)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, rows: Any) -> Feeds:
        """Return the samples of these rows."""
        return Feeds({name: array[rows] for name, array in self.arrays.items()})


class Source(Protocol):
    """A source of the values of one input."""

    def take(self, indices: Array) -> Array:
        """Return the samples with these indices as [N, …], in the input's type."""
        ...


class RandomValues:
    """Random values: uniform in a range, or normal.

    Each sample has its own generator, so that it does not depend on which others are loaded.
    """

    def __init__(
        self,
        tensor: Mapping[str, Any],
        shape: Sequence[int],
        dtype: npt.DTypeLike,
        seed: Sequence[int],
    ) -> None:
        """Set up a source.

        Args:
            tensor: the input's table, with `range` or `normal`.
            shape: the shape of one sample.
            dtype: the type of the model's input.
            seed: precedes the index of a sample in the seed of its generator. Inputs of one model
                have different ones.
        """
        self._shape, self._dtype, self._seed = tuple(shape), np.dtype(dtype), list(seed)
        self._normal: Sequence[float] = tensor.get("normal", ())
        whole = self._dtype.kind in "iu"
        limits = np.iinfo(self._dtype) if whole else None
        low, high = tensor.get("range") or ((limits.min, limits.max) if limits else (0.0, 1.0))
        if whole and np.dtype(tensor.get("dtype", "float32")).kind == "f":
            # A quantized input: the declared range is that of the real values, so use the full
            # integer range.
            low, high = (limits.min, limits.max) if limits else (low, high)
        self._low, self._high, self._whole = low, high, whole

    def take(self, indices: Array) -> Array:
        """Return the samples with these indices."""
        samples = np.empty((len(indices), *self._shape), self._dtype)
        for place, index in enumerate(indices.tolist()):
            samples[place] = self._one(np.random.default_rng([*self._seed, index]))
        return samples

    def _one(self, generator: np.random.Generator) -> Array:
        if self._whole:
            return generator.integers(
                int(self._low), int(self._high), self._shape, self._dtype, endpoint=True
            )
        if self._dtype.kind == "b":
            return generator.integers(
                int(self._low), int(self._high), self._shape, np.int8, endpoint=True
            )
        if self._normal:
            mean, deviation = self._normal
            return np.asarray(generator.standard_normal(self._shape, np.float32) * deviation + mean)
        values = generator.random(self._shape, np.float32)
        return np.asarray(values * (self._high - self._low) + self._low)


class StoredValues:
    """Samples of an array; after the last one, the first one follows."""

    def __init__(self, array: Array) -> None:
        """Hold an array [N, …] in the input's type."""
        self._array = array

    def take(self, indices: Array) -> Array:
        """Return the samples with these indices."""
        return np.ascontiguousarray(self._array[indices % len(self._array)])


@dataclass(frozen=True)
class DatasetValues:
    """Samples of a data set, scaled as the input's table says, and quantized by the adapter."""

    values: Array
    tensor: Mapping[str, Any]
    shape: tuple[int, ...]
    adapter: Any

    def take(self, indices: Array) -> Array:
        """Return the samples with these indices."""
        found = self.values[indices]
        dtype = np.dtype(self.tensor.get("dtype", "float32"))
        if dtype.kind == "f" or "scale" in self.tensor:
            scale, offset = self.tensor.get("scale", 1.0), self.tensor.get("offset", 0.0)
            found = found.astype(np.float32) * np.float32(scale) + np.float32(offset)
        elif dtype == np.int8 and found.dtype == np.uint8:
            # As pictures: -128 is black.
            found = (found.astype(np.int16) - 128).astype(np.int8)
        if self.tensor.get("layout") == "NCHW" and found.ndim == 4:
            found = np.moveaxis(found, -1, 1)
        prepared: Array = self.adapter.prepare(found.reshape(len(indices), *self.shape))
        return prepared


def stored_arrays(job: JobSpec) -> dict[str, Array]:
    """Return the arrays of a job's data set in layout `tensors`; empty for other layouts.

    Raises:
        JobError: BAD_INPUT: the file is not a NumPy archive of plain arrays.
    """
    if job.table("dataset").get("layout") != STORED:
        return {}
    path = job.input("dataset")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: np.asarray(archive[name]) for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise JobError(BAD_INPUT, f"values {path.name} cannot be read: {error}") from error


def array_of(
    tensor: Mapping[str, Any], arrays: Mapping[str, Array], shape: Sequence[int], dtype: Any
) -> Array:
    """Return the array that an input's table names, after a check of its shape and type.

    Raises:
        JobError: BAD_INPUT: it is missing, or does not have the shape [N, *shape] and the type.
    """
    name = str(tensor["array"])
    found = arrays.get(name)
    if found is None:
        raise JobError(BAD_INPUT, f"the job's values have no array {name!r}")
    if found.shape[1:] != tuple(shape) or not len(found) or found.dtype != np.dtype(dtype):
        raise JobError(
            BAD_INPUT,
            f"array {name!r} is {found.dtype} {list(found.shape)}, and input "
            f"{tensor.get('name', '')} needs {np.dtype(dtype)} {list(shape)} per sample",
        )
    return found


def dataset_values(
    job: JobSpec, tensor: Mapping[str, Any], shape: tuple[int, ...], adapter: Any
) -> DatasetValues:
    """Return the samples of the job's labeled data set as values of an input.

    Raises:
        JobError: BAD_INPUT: the data set cannot be read, or its samples have another size.
    """
    dataset = job.table("dataset")
    layout = tensor.get("layout")
    picture = shape[1:] if layout == "NCHW" and len(shape) == 3 else shape
    path: Path = job.input("dataset")
    found = read_labeled(dataset, path, job.inputs.get("labels"), picture)
    have, want = int(np.prod(found.values.shape[1:])), int(np.prod(shape))
    if have != want:
        raise JobError(
            BAD_INPUT,
            f"data set {path.name}: its samples {list(found.values.shape[1:])} do not fit the "
            f"input {list(shape)}",
        )
    return DatasetValues(found.values, tensor, shape, adapter)
