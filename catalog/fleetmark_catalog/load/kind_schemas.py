"""JSON Schemas of the tables that are named after their component's kind."""

from __future__ import annotations

from typing import Any

from fleetmark_catalog.load.device_schemas import CONTAINER, OS, SOFT, SYSTEM
from fleetmark_catalog.load.schema_parts import (
    DEVICES,
    FILE,
    MODE,
    NAME,
    PARAMETER,
    PROFILE,
    PROFILE_TABLE,
    ROUND,
    ROUND_SUITES,
    SCENARIO,
    SHA256,
    SIZE,
    TENSOR,
    TEST,
    TEXT,
    WORD,
    table,
    unique,
)

# Builds a wheel of a package that has only sources; see "Build recipes" in catalog/README.md.
BUILD = table(
    {
        "where": {"enum": ["controller"]},
        "arches": unique({"enum": ["aarch64", "x86_64"]}, 1),
        "pythons": unique({"type": "string", "pattern": r"^3\.[1-9][0-9]?$"}, 1),
        "glibc": {"type": "string", "pattern": r"^2\.(1[7-9]|[2-9][0-9])$"},
        "minutes": {"type": "integer", "minimum": 1, "maximum": 1000},
        "tools": unique(
            table(
                {
                    "requirement": {
                        "type": "string",
                        "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.!+]+$",
                    },
                    "sha256": SHA256,
                },
                ("requirement", "sha256"),
            )
        ),
        "sdists": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": table(
                {
                    "file": {
                        "type": "string",
                        "pattern": r"^[A-Za-z0-9][A-Za-z0-9._+-]*\.tar\.gz$",
                    },
                    "sha256": SHA256,
                    "size_bytes": SIZE,
                },
                ("file", "sha256", "size_bytes"),
            ),
        },
    },
    ("where", "arches", "pythons", "glibc", "tools", "sdists"),
)
_PART = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_GLIBC = {"type": "string", "pattern": r"^2\.[1-9][0-9]$"}
_FOLDERS = unique({"type": "string", "pattern": rf"^(\.|{_PART}(/{_PART})*)$"}, 1)
# Files that are unpacked unchanged; see "Bring an archive" in catalog/README.md.
ARCHIVE = table(
    {
        "name": WORD,
        "version": TEXT,
        "arch": WORD,
        "glibc": _GLIBC,
        "artifact": FILE,
        "unpacked_bytes": {"type": "integer", "minimum": 1},
        "bin": _FOLDERS,
        "lib": _FOLDERS,
        "python": _FOLDERS,
    },
    ("arch", "artifact", "unpacked_bytes"),
)

_FIGURE = {"type": "number", "minimum": 0, "maximum": 1e18}
# Thresholds for the condition of a run, and limits of `--stable`.
_CONDITION = (
    *("foreign_cpu_mean_percent", "foreign_cpu_peak_percent", "temperature_c"),
    *("start_temperature_c", "frequency_drift_percent", "swap_bytes", "run_interval_percent"),
    *("timing_base_us", "timing_percent", "timing_tail_factor", "timing_below_us"),
    *("cool_wait_s", "interval_percent", "least_runs", "most_runs"),
)

BODIES: dict[str, dict[str, Any]] = {
    "benchmark": table(
        {
            "task": WORD,
            "model": WORD,
            "scenarios": {
                "type": "object",
                "propertyNames": SCENARIO,
                "minProperties": 1,
                # An `on_request` scenario runs only if it is named.
                "additionalProperties": table(
                    {"metric": TEXT, "on_request": {"type": "boolean"}}, ("metric",)
                ),
            },
            "modes": unique(MODE, 1),
            # The MLPerf benchmark whose rules apply, and how this one deviates from the official
            # one.
            "mlperf": table({"benchmark": WORD, "rehearsal": TEXT}, ("benchmark",)),
            # Content of LoadGen's audit.config for each compliance test.
            "compliance": {
                "type": "object",
                "propertyNames": TEST,
                "minProperties": 1,
                "additionalProperties": {
                    "type": "object",
                    "propertyNames": {"pattern": "^[a-z_]+$", "maxLength": 60},
                    "minProperties": 1,
                    "additionalProperties": {"type": "integer", "minimum": 0},
                },
            },
            "quality": table(
                {
                    "metric": WORD,
                    "reference": {"type": "number", "minimum": 0, "maximum": 1},
                    "target": {"type": "number", "minimum": 0, "maximum": 1},
                },
                # An imported model has no reference.
                ("metric",),
            ),
            # Thresholds for rejecting a run because of the device's condition, and limits of
            # `--stable`.
            "condition": table(dict.fromkeys(_CONDITION, _FIGURE)),
            "profiles": {
                "type": "object",
                "propertyNames": PROFILE,
                "minProperties": 1,
                "additionalProperties": PROFILE_TABLE,
            },
        },
        ("task", "scenarios", "modes", "profiles"),
        # Accuracy mode needs a metric; a benchmark that only measures speed has none.
        **{"if": {"properties": {"modes": {"contains": {"const": "accuracy"}}}}},
        then={"required": ["quality"]},
    ),
    "program": table(
        {
            "contract": {"const": 1},
            "command": {"type": "array", "items": TEXT, "minItems": 1},
            "files": unique(FILE, 1),
            # True if the program supports mode find-performance.
            "find_performance": {"type": "boolean"},
            # True if the program supports mode crosscheck.
            "crosscheck": {"type": "boolean"},
            "inputs": unique(WORD),
            "environment": {"type": "object", "additionalProperties": {"type": "string"}},
            # Access that a job gets besides its files, if the device's operator allows it.
            "network": {"type": "boolean"},
            "devices": DEVICES,
            "outputs": {
                "type": "array",
                "minItems": 1,
                "items": table(
                    {"name": FILE, "role": WORD, "required": {"type": "boolean"}},
                    ("name", "role"),
                ),
            },
            "parameters": {
                "type": "object",
                "propertyNames": WORD,
                "additionalProperties": PARAMETER,
            },
        },
        ("contract", "command", "files", "outputs"),
    ),
    "model": table(
        {
            "task": WORD,
            "precision": WORD,
            "format": WORD,
            "parameter_count": {"type": "integer", "minimum": 0},
            "input": TENSOR,
            "constants": {"type": "array", "items": TENSOR},
            "output": TENSOR,
            "settings": {"type": "object"},
            # Size of the tensors between the layers for one sample, used to predict a job's memory.
            "arena_bytes": {"type": "integer", "minimum": 1},
            # Peak resident memory of a process that opened the model and called it once with
            # `batch` samples (1 if absent), as the import measured it.
            "footprint": table(
                {
                    "peak_memory_bytes": {"type": "integer", "minimum": 1},
                    "batch": {"type": "integer", "minimum": 1},
                },
                ("peak_memory_bytes",),
            ),
            # Statements of an MLPerf submission about the weights.
            "mlperf": table(
                {
                    "input_data_types": TEXT,
                    "retraining": TEXT,
                    "starting_weights_filename": TEXT,
                    "weight_transformations": TEXT,
                }
            ),
            # Rounds of MLPerf, by suite, in which this model or its weights are the reference.
            "rounds": table(dict.fromkeys(ROUND_SUITES, unique(ROUND, 1)), minProperties=1),
            # The graph accepts one sample per call, whatever the batch size.
            "fixed_batch": {"type": "boolean"},
        },
        ("task", "input", "output"),
    ),
    "dataset": table(
        {
            "task": WORD,
            "layout": {"enum": ["npz", "idx", "cifar", "pictures", "random", "tensors"]},
            "seed": {"type": "integer", "minimum": 0},
            "sample_rate_hz": {"type": "integer", "minimum": 1},
            "samples": {"type": "integer", "minimum": 1},
            "performance_samples": {"type": "integer", "minimum": 1},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}},
            # Type of the samples as stored; the default is uint8.
            "dtype": {"enum": ["uint8", "int16", "int32", "float32"]},
            "images": WORD,
            "labels": WORD,
            "classes": {"type": "array", "items": TEXT},
        },
        ("layout", "samples"),
    ),
    "package": table(
        {
            "distribution": NAME,
            "newer": unique(TEXT),
            "older": unique(TEXT),
            "python": {"type": "string", "maxLength": 60},
            "adapter": WORD,
            "module": {"type": "string", "pattern": r"^[A-Za-z_][A-Za-z0-9_.]*$"},
            "round": WORD,
            # For a runtime: memory to import it and open a small model, in addition to NumPy.
            "memory_bytes": {"type": "integer", "minimum": 1},
            # For a runtime that reads ONNX: the newest IR version and opset, by its own version.
            "onnx": {
                "type": "object",
                "minProperties": 1,
                "additionalProperties": table(
                    {
                        "ir": {"type": "integer", "minimum": 1},
                        "opset": {"type": "integer", "minimum": 1},
                    },
                    ("ir", "opset"),
                ),
            },
            "environment": {"type": "object", "additionalProperties": {"type": "string"}},
            "devices": DEVICES,
            # A Python per architecture: the artifact that contains it, an archive of regular files.
            "interpreters": {
                "type": "array",
                "minItems": 1,
                "items": table(
                    {
                        "arch": WORD,
                        "glibc": _GLIBC,
                        "artifact": FILE,
                        "python": {
                            "type": "string",
                            "pattern": rf"^{_PART}(/{_PART})*$",
                        },
                        "unpacked_bytes": {"type": "integer", "minimum": 1},
                    },
                    ("arch", "glibc", "artifact", "python", "unpacked_bytes"),
                ),
            },
            # By architecture and version; the first one that fits a device is used.
            "archives": {"type": "array", "minItems": 1, "items": ARCHIVE},
            "constraints": unique(TEXT),
            "omit": {"type": "object", "additionalProperties": TEXT},
            "build": BUILD,
        },
        ("distribution",),
    ),
    "suite": table(
        {
            "members": {
                "type": "array",
                "minItems": 1,
                "items": table(
                    {
                        "benchmark": NAME,
                        "variations": unique(WORD),
                        "scenarios": unique(SCENARIO, 1),
                        "modes": unique({"enum": [*MODE["enum"], *TEST["enum"]]}, 1),
                    },
                    ("benchmark",),
                ),
            }
        },
        ("members",),
    ),
    "soft": SOFT,
    "os": OS,
    "container": CONTAINER,
    "system": SYSTEM,
}
"""Schema of the table that is named after its kind."""
