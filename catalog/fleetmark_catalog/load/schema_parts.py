"""Schema parts that several component kinds share."""

from __future__ import annotations

from typing import Any

from fleetmark_catalog.load.model import KINDS

NAME = {"type": "string", "pattern": r"^[a-z0-9][a-z0-9._-]*$", "maxLength": 80}
WORD = {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", "maxLength": 80}
FILE = {"type": "string", "pattern": r"^[A-Za-z0-9_][A-Za-z0-9._+-]*$", "maxLength": 120}
TEXT = {"type": "string", "minLength": 1, "maxLength": 400}
SHA256 = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
SIZE = {"type": "integer", "minimum": 0, "maximum": 1 << 40}
SCENARIO = {"enum": ["SingleStream", "MultiStream", "Server", "Offline"]}
MODE = {"enum": ["performance", "accuracy"]}
TEST = {"enum": ["TEST01", "TEST04"]}
"""MLPerf's compliance tests. Each is also a mode, which runs only on request."""
ROUND_SUITES = ("inference-edge", "inference-datacenter", "mobile", "tiny")
"""Suites of MLPerf whose rounds a model names."""
ROUND = {"type": "string", "pattern": r"^v[0-9]{1,2}\.[0-9]{1,2}$"}
PROFILE = {"enum": ["quick", "valid"]}


def unique(item: dict[str, Any], minimum: int = 0) -> dict[str, Any]:
    """Return the schema of a list whose entries must differ."""
    return {"type": "array", "items": item, "minItems": minimum, "uniqueItems": True}


# Device nodes that a job may access, with shell wildcards: /dev/nvidia*, /dev/dri/renderD*.
DEVICES = unique(
    {
        "type": "string",
        "pattern": r"^/dev(/(?!\.\.?(/|$))[A-Za-z0-9_.*?\[\]:-]+)+$",
        "not": {"pattern": r"\*\*"},
        "maxLength": 120,
    },
    1,
)


def table(
    properties: dict[str, Any], required: tuple[str, ...] = (), **more: Any
) -> dict[str, Any]:
    """Return the schema of a table that allows only these keys."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
        **more,
    }


VARIATION_NAME = {
    "type": "string",
    "pattern": r"^[A-Za-z0-9][A-Za-z0-9._+-]*(\.#)?$",
    "maxLength": 80,
}
CHOICE = {
    "component": {
        "type": "string",
        "pattern": rf"^({'|'.join(KINDS)})/[a-z0-9][a-z0-9._-]*$",
    },
    "version": {"type": "string", "maxLength": 100},
    "kind": {"enum": list(KINDS)},
    "tags": unique(WORD, 1),
}
_ONE_WAY = [{"required": ["component"]}, {"required": ["kind", "tags"]}]
_TOGETHER = {"kind": ["tags"], "tags": ["kind"]}
REQUIREMENT = table(
    {
        "role": WORD,
        "when": TEXT,
        **CHOICE,
        "any_of": unique(table(CHOICE, oneOf=_ONE_WAY, dependentRequired=_TOGETHER), 1),
    },
    oneOf=[*_ONE_WAY, {"required": ["any_of"]}],
    dependentRequired=_TOGETHER,
)
_VALUE = table(
    {
        "type": {"enum": ["int", "float", "string"]},
        "min": {"type": "number"},
        "max": {"type": "number"},
        "choices": {"type": "array", "minItems": 1},
    },
    ("type",),
)
VARIATION = table(
    {
        "title": TEXT,
        "group": WORD,
        "default": {"type": "boolean"},
        "tags": unique(WORD),
        "requires": {"type": "array", "items": REQUIREMENT},
        "set": {"type": "object"},
        "excludes": unique(WORD, 1),
        "when": TEXT,
        "value": _VALUE,
    }
)
LOCATION = table(
    {
        "url": {"type": "string", "pattern": "^https://[^\\s]+$"},
        "deb": NAME,
        "wheel": {"type": "string", "pattern": r"^[A-Za-z0-9._+!-]+\.whl$", "maxLength": 200},
        "wheel_sha256": SHA256,
        "recipe": WORD,
        "options": {"type": "object"},
        "provided": TEXT,
        "path": {"type": "string", "pattern": r"^[^/\s][^\s]*$"},
        "compression": {"enum": ["gzip"]},
        "size_bytes": SIZE,
    },
    ("size_bytes",),
    oneOf=[
        {"required": ["url"]},
        {"required": ["deb", "path"]},
        {"required": ["wheel", "wheel_sha256", "path"]},
        {"required": ["recipe"]},
        {"required": ["provided"]},
    ],
)
ARTIFACT = table(
    {
        "name": FILE,
        "role": WORD,
        "sha256": SHA256,
        "size_bytes": SIZE,
        # Instead of the two: all that the publisher states. An admin must confirm the file.
        "md5": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        "when": unique(WORD),
        "tags": unique(WORD),
        "file": FILE,
        "locations": {"type": "array", "items": LOCATION, "minItems": 1},
    },
    ("name", "role"),
    anyOf=[{"required": ["file"]}, {"required": ["locations"]}],
    **{"if": {"required": ["md5"]}, "else": {"required": ["sha256", "size_bytes"]}},
)
LOADGEN = table(
    {
        "min_duration_ms": {"type": "integer", "minimum": 1},
        "min_query_count": {"type": "integer", "minimum": 1},
        "min_sample_count": {"type": "integer", "minimum": 1},
        "target_latency_ms": {"type": "number", "exclusiveMinimum": 0},
    }
)
PROFILE_TABLE = table(
    {
        "submittable": {"type": "boolean"},
        "timeout_s": {"type": "number", "exclusiveMinimum": 0},
        "warmup_ms": {"type": "integer", "minimum": 0},
        "calibration_ms": {"type": "integer", "minimum": 1},
        **{name: LOADGEN for name in SCENARIO["enum"]},
    },
    ("submittable", "timeout_s", "warmup_ms", "calibration_ms"),
)
PARAMETER = table(
    {
        "type": {"enum": ["int", "float", "string", "bool"]},
        "min": {"type": "number"},
        "max": {"type": "number"},
        "choices": {"type": "array", "minItems": 1},
        "default": {"type": ["number", "string", "boolean"]},
        "scenarios": unique(SCENARIO, 1),
        "profiles": unique(PROFILE, 1),
        # Adapters of the runtimes that have the parameter; without this key all have it.
        "runtimes": unique(WORD, 1),
        "help": TEXT,
    },
    ("type", "help"),
)
TENSOR = table(
    {
        "name": TEXT,
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}},
        "layout": {"enum": ["NHWC", "NCHW", "flat"]},
        "scale": {"type": "number"},
        "offset": {"type": "number"},
        "dtype": {
            "enum": [
                *("float32", "float16", "float64", "bool", "int8", "int16", "int32", "int64"),
                *("uint8", "uint16", "uint32", "uint64"),
            ]
        },
        "range": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
        # Mean and standard deviation of random values, instead of a range.
        "normal": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
        # Name of an array in the data set of layout `tensors`: one row a sample.
        "array": WORD,
        "value": {"type": "number"},
        "batch_axis": {"type": "integer", "minimum": 0},
        # Number of samples per inference, if the graph fixes it.
        "batch": {"type": "integer", "minimum": 1},
        "first_class": {"type": "integer", "minimum": 0},
        "classes": {"type": "integer", "minimum": 1},
    }
)
