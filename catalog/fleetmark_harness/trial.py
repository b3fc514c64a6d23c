"""Runs a model twice on one sample, without LoadGen: `controller catalog import` calls it.

The last line on standard output is a JSON object: `load_ms`, `first_ms` and `run_ms` (the first and
the second call), `peak_memory_bytes` of the process, `model_memory_bytes` (what opening and running
the model added to it), `runtime` (name, version, provider), and `outputs`, each with `shape`,
`dtype` and `nonfinite`.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from fleetmark_harness import exit_codes, tensor_job
from fleetmark_harness.exit_codes import JobError
from fleetmark_harness.job import JobSpec, read_job
from fleetmark_harness.results import peak_memory_bytes

_PATIENCE_S = 10.0
"""The model runs once only if the first call takes longer."""


def main() -> int:
    """Try the model of the job that the environment names, and return the exit code."""
    try:
        answer = try_model(read_job())
    except BaseException as error:
        exit_codes.report_error(error, "trial failed")
        return exit_codes.code_of(error, exit_codes.BAD_INPUT)
    sys.stdout.write(json.dumps(answer) + "\n")
    return exit_codes.DONE


def try_model(job: JobSpec) -> dict[str, Any]:
    """Open the model, run it, and return the measurements.

    Raises:
        JobError: its exit code says what is wrong.
    """
    _import_runtime(job)
    before = resident_bytes()
    started = time.perf_counter_ns()
    adapter, task = tensor_job.load(job, 1)
    loaded = time.perf_counter_ns()
    batch = task.prepare(np.arange(1))
    feeds = task.feeds(batch)
    try:
        began = time.perf_counter_ns()
        outputs = adapter.call(feeds)
        first = time.perf_counter_ns() - began
        again = first
        if first < _PATIENCE_S * 1e9:
            began = time.perf_counter_ns()
            task.answer(task.run(batch))
            again = time.perf_counter_ns() - began
    except JobError:
        raise
    except Exception as error:
        raise JobError(
            exit_codes.code_of(error, exit_codes.BAD_INPUT),
            f"the model does not run: {exit_codes.one_line(error)}",
        ) from error
    peak = peak_memory_bytes()
    return {
        "load_ms": (loaded - started) / 1e6,
        "first_ms": first / 1e6,
        "run_ms": again / 1e6,
        "peak_memory_bytes": peak,
        "model_memory_bytes": max(0, peak - before),
        "samples_per_call": adapter.samples_per_call,
        "runtime": {
            "name": str(job.table("runtime").get("package", "")),
            "version": adapter.version,
            "provider": adapter.provider,
        },
        "outputs": [_described(output) for output in outputs],
    }


def _import_runtime(job: JobSpec) -> None:
    """Import the runtime, so that its memory does not count as that of the model."""
    runtime = job.table("runtime")
    # Opening the model reports why a runtime cannot be imported.
    with contextlib.suppress(ImportError, AttributeError, OSError):
        importlib.import_module(str(runtime.get("module") or runtime.get("name")))


def _described(output: Any) -> dict[str, Any]:
    values = np.asarray(output)
    is_float = values.dtype.kind == "f"
    return {
        "shape": list(values.shape),
        "dtype": str(values.dtype),
        "nonfinite": is_float and not bool(np.isfinite(values).all()),
    }


def resident_bytes() -> int:
    """Return the resident memory of this process; 0 if the system does not show it."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
