"""One thin adapter per runtime, all with the same small protocol."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fleetmark_harness.exits import BAD_INPUT, BAD_JOB, NO_RUNTIME, JobError, code_of

Array = npt.NDArray[Any]


class Adapter(Protocol):
    """A loaded model on a runtime, ready for batches of a fixed largest size."""

    version: str
    """Version of the runtime that was imported."""
    provider: str
    """The execution provider or delegate that is actually used."""

    def prepare(self, values: npt.NDArray[np.float32]) -> Array:
        """Real values [N, …] as the model's input type (quantised where it wants integers)."""
        ...

    def run(self, batch: Array) -> Array:
        """Outputs of the first output tensor for a prepared batch of at most the batch size."""
        ...


_MODULES = {"onnxruntime": "ort", "tflite": "tflite"}


def open_model(runtime: Mapping[str, Any], model: Path, threads: int, batch_size: int) -> Adapter:
    """Load `model` with the runtime that the lock names.

    Raises:
        JobError: BAD_JOB: no adapter of this name; NO_RUNTIME: the runtime cannot be imported or
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
    try:
        opened: Adapter = adapter.open_model(library, runtime, model, threads, batch_size)
    except JobError:
        raise
    except (ImportError, AttributeError, SystemError) as error:
        # tflite-runtime beside numpy 2 imports, and fails here.
        raise JobError(NO_RUNTIME, f"runtime {name} does not work: {error}") from error
    except Exception as error:
        code = code_of(error, BAD_INPUT)
        first = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise JobError(
            code, f"model {model.name} cannot be opened by {name}: {first[0]}"
        ) from error
    return opened
