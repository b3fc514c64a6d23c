"""Writes the output of a job: the samples and result.json."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import fleetmark_harness
from fleetmark_harness.adapters import Adapter
from fleetmark_harness.calibrate import Calibration
from fleetmark_harness.job import CROSSCHECK, JobSpec
from fleetmark_harness.run_size import RunSize
from fleetmark_harness.task import Accuracy

FORMAT = 1


@dataclass(frozen=True)
class Measured:
    """All results of one run under LoadGen."""

    query_count: int
    sample_count: int
    samples: npt.NDArray[np.int64]
    calibration: Calibration
    accuracy: Accuracy | None
    user_conf: str
    audit_config: str
    start_unix_ns: int
    duration_ns: int
    short_batches: Sequence[int] = ()
    """Sizes of the batches that had fewer samples than the batch size."""
    size: RunSize | None = None
    """The planned size of a performance run; None in other modes."""
    repeated_tests: int = 0
    """Number of tests before this one that were too short."""
    search: Mapping[str, Any] | None = None
    """The result of mode find-performance and each of its tests."""
    crosscheck: Mapping[str, Any] | None = None
    """The rounds of mode crosscheck."""


def write_samples(job: JobSpec, measured: Measured) -> None:
    """Write `samples.i64`, except in the modes accuracy and crosscheck.

    Raises:
        OSError: it cannot be written.
    """
    if job.mode not in ("accuracy", CROSSCHECK):
        write_durably(job.out / "samples.i64", measured.samples.astype("<i8").tobytes())


def write_result(job: JobSpec, document: Mapping[str, Any]) -> None:
    """Write `result.json`, the last file of a job.

    Raises:
        OSError: it cannot be written.
    """
    text = json.dumps(document, indent=1, sort_keys=True) + "\n"
    write_durably(job.out / "result.json", text.encode())


def write_durably(path: Path, data: bytes) -> None:
    """Write a file and wait until it is on the disk.

    Raises:
        OSError: it cannot be written.
    """
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        # A full disk must be detected here, not by a later reader of the file.
        os.fsync(file.fileno())


def result_document(
    job: JobSpec, adapter: Adapter, measured: Measured, load_memory_bytes: int
) -> dict[str, Any]:
    """Return the content of `result.json`.

    Args:
        job: the job.
        adapter: the loaded model.
        measured: the results of the run.
        load_memory_bytes: peak memory of this process after the model was loaded.
    """
    runtime = job.table("runtime")
    provider_nodes = getattr(adapter, "provider_nodes", {})
    calibration, accuracy = measured.calibration, measured.accuracy
    return {
        "format": FORMAT,
        "query_count": measured.query_count,
        "sample_count": measured.sample_count,
        "computed_sample_count": computed_samples(job, adapter, measured),
        **_planned(measured.size),
        **({"repeated_tests": measured.repeated_tests} if measured.repeated_tests else {}),
        "nonfinite_outputs": calibration.nonfinite_outputs,
        "warmup_count": calibration.warmup_count,
        "calibration": {
            "latency_ns": calibration.latency_ns,
            "batch_size": calibration.batch_size,
            "run_count": calibration.run_count,
        },
        "accuracy": None
        if accuracy is None
        else {
            "metric": accuracy.metric,
            "value": accuracy.value,
            "correct": accuracy.correct,
            "total": accuracy.total,
        },
        "runtime": {
            "name": runtime.get("package", runtime.get("name")),
            "version": adapter.version,
            "provider": adapter.provider,
            "threads": job.parameters.get("threads"),
            "samples_per_call": adapter.samples_per_call,
            **({"provider_nodes": dict(provider_nodes)} if provider_nodes else {}),
        },
        "phases": {
            "load_ns": getattr(adapter, "load_ns", None),
            "first_inference_ns": calibration.first_ns or None,
            "warmup_ns": calibration.warmup_ns or None,
            "steady_state_ns": calibration.steady_ns or None,
        },
        "parameters": dict(sorted(job.parameters.items())),
        "loadgen_version": importlib.metadata.version("mlcommons-loadgen"),
        "loadgen_user_conf": measured.user_conf,
        **({"loadgen_audit_config": measured.audit_config} if measured.audit_config else {}),
        **({"search": measured.search} if measured.search is not None else {}),
        **({"crosscheck": measured.crosscheck} if measured.crosscheck is not None else {}),
        "harness_version": fleetmark_harness.__version__,
        "numpy_version": np.__version__,
        "python_version": platform.python_version(),
        "start_unix_ns": measured.start_unix_ns,
        "duration_ns": measured.duration_ns,
        "load_memory_bytes": load_memory_bytes,
        "peak_memory_bytes": peak_memory_bytes(),
    }


def _planned(size: RunSize | None) -> dict[str, int]:
    if size is None:
        return {}
    return {"planned_count": size.count, "needed_count": size.needed}


def computed_samples(job: JobSpec, adapter: Adapter, measured: Measured) -> int:
    """Return the number of samples that the runtime computed, those that fill up calls included."""
    if not adapter.fixed_batch:
        return measured.sample_count
    size = adapter.samples_per_call
    if job.scenario == "Offline":
        # Full batches are whole calls, see `run`.
        return measured.sample_count + sum(-count % size for count in measured.short_batches)
    per_query = job.batch_size
    return measured.sample_count // per_query * (per_query + -per_query % size)


def peak_memory_bytes() -> int:
    """Return the peak resident memory of this process."""
    # getrusage would include the parent's memory from before exec; the status file does not.
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
