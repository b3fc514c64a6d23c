"""Adapters, one per runtime, all with the same small protocol."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fleetmark_harness.adapters.options import runtime_options
from fleetmark_harness.exit_codes import (
    BAD_INPUT,
    BAD_JOB,
    NO_RUNTIME,
    JobError,
    code_of,
    one_line,
)
from fleetmark_harness.job import JobSpec

Array = npt.NDArray[Any]


class Adapter(Protocol):
    """A model that is loaded on a runtime, for batches up to a fixed size.

    The harness also uses these members if an adapter has them: `load_ns`, the time that opening the
    model took; `provider_nodes`, the number of operators by execution provider; and
    `operator_calls()`, the operators of each call since the model was opened with
    `Opening.profile_folder` (see module `operators`).
    """

    version: str
    """Version of the runtime that was imported."""
    provider: str
    """The execution provider or delegate that is actually used."""
    input_name: str
    """The input that receives the samples; all other inputs of the model are constant."""
    input_shape: tuple[int, ...]
    """Shape of one sample; 0 for each size that the model leaves open."""
    dtype: npt.DTypeLike
    """The data type of the input."""
    samples_per_call: int
    """Number of samples that the runtime actually gets per call."""
    fixed_batch: bool
    """True if a call always computes `samples_per_call` samples, also for fewer."""

    def prepare(self, values: Array) -> Array:
        """Return real values [N, …] in the model's input type, quantized for integer inputs."""
        ...

    def run(self, batch: Array) -> Array:
        """Return the first output tensor for a prepared batch of at most the batch size."""
        ...

    def call(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Return all outputs, in the model's order, for inputs by name; constants are optional."""
        ...


@dataclass(frozen=True)
class Opening:
    """The request to open a model; `table` is the model's table from the catalog."""

    library: Any
    runtime: Mapping[str, Any]
    table: Mapping[str, Any]
    model: Path
    threads: int
    batch_size: int
    options: Mapping[str, Any] = field(default_factory=dict)
    """The parameters of this runtime: see module `options`."""
    profile_folder: Path | None = None
    """If set, record the operators; the runtime may write its profile into this folder."""


_MODULES = {
    "onnxruntime": "ort",
    "tflite": "tflite",
    "openvino": "openvino_cpu",
    "opencv": "opencv",
}


def open_model(
    runtime: Mapping[str, Any],
    model: Path,
    threads: int,
    batch_size: int,
    table: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    profile_folder: Path | None = None,
) -> Adapter:
    """Load `model` with the runtime that the lockfile names.

    Args:
        runtime: the runtime's table of the lockfile.
        model: the model file.
        threads: number of threads that the runtime may use.
        batch_size: maximum number of samples per batch.
        table: the model's table from the catalog, with the input that receives the samples, and
            constants.
        options: the parameters of this runtime.
        profile_folder: see `Opening`.

    Raises:
        JobError: BAD_JOB: no adapter has this name; NO_RUNTIME: the runtime cannot be imported or
            does not work; BAD_INPUT: the model is not valid for it.
    """
    name = str(runtime.get("name"))
    if name not in _MODULES:
        raise JobError(BAD_JOB, f"no adapter for runtime {name!r}; known: {', '.join(_MODULES)}")
    try:
        adapter = importlib.import_module(f"fleetmark_harness.adapters.{_MODULES[name]}")
        library = importlib.import_module(str(runtime.get("module") or name))
    except (ImportError, AttributeError, OSError) as error:
        raise JobError(NO_RUNTIME, f"runtime {name} cannot be loaded: {error}") from error
    table = table or {}
    opening = Opening(
        library, runtime, table, model, threads, batch_size, options or {}, profile_folder
    )
    try:
        opened: Adapter = adapter.open_model(opening)
    except JobError:
        raise
    except (ImportError, AttributeError, SystemError) as error:
        # With numpy 2, tflite-runtime can be imported, but fails here.
        raise JobError(NO_RUNTIME, f"runtime {name} does not work: {error}") from error
    except Exception as error:
        code = code_of(error, BAD_INPUT)
        raise JobError(
            code, f"model {model.name} cannot be opened by {name}: {one_line(error)}"
        ) from error
    return opened


def open_job_model(job: JobSpec, batch_size: int) -> Adapter:
    """Load the model of a job with the job's parameters.

    Raises:
        JobError: see `open_model`; BAD_JOB: a parameter does not apply to the runtime.
    """
    runtime = job.table("runtime")
    return open_model(
        runtime,
        job.input("model"),
        job.integer("threads"),
        batch_size,
        job.table("model"),
        runtime_options(str(runtime.get("name")), job.parameters, job.given),
        job.profile_folder,
    )


def constants(table: Mapping[str, Any], batch_size: int) -> dict[str, tuple[Array, int | None]]:
    """Return the inputs that are equal for every sample: the value, and the batch axis or None."""
    found: dict[str, tuple[Array, int | None]] = {}
    for tensor in table.get("constants", ()):
        shape = [int(size) for size in tensor.get("shape", ())]
        axis = tensor.get("batch_axis")
        if axis is not None:
            shape[axis] = batch_size
        value = np.full(shape, tensor.get("value", 0), np.dtype(tensor.get("dtype", "float32")))
        found[str(tensor["name"])] = (value, axis)
    return found


def first_of(values: tuple[Array, int | None], count: int) -> Array:
    """Return a constant for a batch of `count` samples."""
    value, axis = values
    if axis is None or value.shape[axis] == count:
        return value
    return np.ascontiguousarray(np.take(value, range(count), axis))


def wanted_input(table: Mapping[str, Any], names: list[str], model: Path) -> str:
    """Return the name of the input that receives the samples: the only one that is not constant.

    Raises:
        JobError: BAD_INPUT: there is not exactly one such input, or a constant is not an input.
    """
    fixed = {str(tensor["name"]) for tensor in table.get("constants", ())}
    left = [name for name in names if name not in fixed]
    if len(left) != 1 or not fixed <= set(names):
        raise JobError(
            BAD_INPUT,
            f"model {model.name} must have exactly one input that is not constant: its inputs are "
            f"{', '.join(names)}, its constants are {', '.join(sorted(fixed)) or 'none'}",
        )
    return left[0]
