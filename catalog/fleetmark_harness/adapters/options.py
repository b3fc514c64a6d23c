"""Parameters that belong to one runtime: the switches of its sessions and interpreters. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleetmark_harness.exit_codes import BAD_JOB, JobError

RUNTIME_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "onnxruntime": (
        "graph_optimization",
        "execution_mode",
        "inter_op_threads",
        "cpu_mem_arena",
        "mem_pattern",
        "execution_provider",
    ),
    "tflite": ("xnnpack",),
    "openvino": ("performance_hint", "num_streams", "inference_precision", "mmap"),
}
"""Names of parameters by adapter. The programs of the catalog declare the same in `runtimes`."""


def runtime_options(
    runtime: str, parameters: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the parameters that belong to a runtime, with their defaults.

    Args:
        runtime: name of the adapter.
        parameters: all parameters of the job, with defaults.
        given: the parameters that the order sets.

    Raises:
        JobError: BAD_JOB: the order sets a parameter of another runtime.
    """
    own = RUNTIME_PARAMETERS.get(runtime, ())
    for other, names in RUNTIME_PARAMETERS.items():
        for name in names:
            if name in given and name not in own:
                raise JobError(
                    BAD_JOB,
                    f"parameter {name} does not apply to runtime {runtime}: it is a parameter of"
                    f" {other}",
                )
    return {name: parameters[name] for name in own if name in parameters}


def choice(options: Mapping[str, Any], name: str, allowed: Mapping[str, str], default: str) -> str:
    """Return the runtime's own name for the value of an option.

    Raises:
        JobError: BAD_JOB: the value is not one of `allowed`.
    """
    value = options.get(name, default)
    if not isinstance(value, str) or value not in allowed:
        raise JobError(
            BAD_JOB, f"parameter {name} is {value!r}, expected one of {', '.join(allowed)}"
        )
    return allowed[value]


def switch(options: Mapping[str, Any], name: str, default: bool) -> bool:
    """Return an option that is on or off.

    Raises:
        JobError: BAD_JOB: the value is not a boolean.
    """
    value = options.get(name, default)
    if not isinstance(value, bool):
        raise JobError(BAD_JOB, f"parameter {name} is {value!r}, expected true or false")
    return value


def count(options: Mapping[str, Any], name: str, default: int) -> int:
    """Return an option that is a number of threads or streams.

    Raises:
        JobError: BAD_JOB: the value is not a positive integer.
    """
    value = options.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise JobError(BAD_JOB, f"parameter {name} is {value!r}, expected an integer above 0")
    return value
