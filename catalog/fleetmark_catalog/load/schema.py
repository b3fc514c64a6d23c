"""JSON Schemas of `component.toml`, from code, one per kind."""

from __future__ import annotations

from typing import Any

from fleetmark_catalog.load.model import KINDS

_NAME = {"type": "string", "pattern": r"^[a-z0-9][a-z0-9._-]*$", "maxLength": 80}
_WORD = {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", "maxLength": 80}
_FILE = {"type": "string", "pattern": r"^[A-Za-z0-9_][A-Za-z0-9._+-]*$", "maxLength": 120}
_TEXT = {"type": "string", "minLength": 1, "maxLength": 400}
_SHA256 = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_SIZE = {"type": "integer", "minimum": 0, "maximum": 1 << 40}
_SCENARIO = {"enum": ["SingleStream", "MultiStream", "Server", "Offline"]}
_MODE = {"enum": ["performance", "accuracy", "compliance"]}
_PROFILE = {"enum": ["quick", "valid"]}


def _list(item: dict[str, Any], minimum: int = 0) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": minimum, "uniqueItems": True}


def _table(
    properties: dict[str, Any], required: tuple[str, ...] = (), **more: Any
) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
        **more,
    }


_CHOICE = {
    "component": {
        "type": "string",
        "pattern": rf"^({'|'.join(KINDS)})/[a-z0-9][a-z0-9._-]*$",
    },
    "version": {"type": "string", "maxLength": 100},
}
_REQUIREMENT = _table(
    {
        "role": _WORD,
        "when": _TEXT,
        **_CHOICE,
        "any_of": _list(_table(_CHOICE, ("component",)), 1),
    },
    oneOf=[{"required": ["component"]}, {"required": ["any_of"]}],
)
_VARIATION = _table(
    {
        "title": _TEXT,
        "group": _WORD,
        "default": {"type": "boolean"},
        "tags": _list(_WORD),
        "requires": {"type": "array", "items": _REQUIREMENT},
        "set": {"type": "object"},
    }
)
_LOCATION = _table(
    {
        "url": {"type": "string", "pattern": "^https://[^\\s]+$"},
        "deb": _NAME,
        "path": {"type": "string", "pattern": r"^[^/\s][^\s]*$"},
        "compression": {"enum": ["gzip"]},
        "size_bytes": _SIZE,
    },
    ("size_bytes",),
    oneOf=[{"required": ["url"]}, {"required": ["deb", "path"]}],
)
_ARTIFACT = _table(
    {
        "name": _FILE,
        "role": _WORD,
        "sha256": _SHA256,
        "size_bytes": _SIZE,
        "when": _list(_WORD),
        "file": _FILE,
        "locations": {"type": "array", "items": _LOCATION, "minItems": 1},
    },
    ("name", "role", "sha256", "size_bytes"),
    anyOf=[{"required": ["file"]}, {"required": ["locations"]}],
)
_LOADGEN = _table(
    {
        "min_duration_ms": {"type": "integer", "minimum": 1},
        "min_query_count": {"type": "integer", "minimum": 1},
        "min_sample_count": {"type": "integer", "minimum": 1},
    }
)
_PROFILE_TABLE = _table(
    {
        "submittable": {"type": "boolean"},
        "timeout_s": {"type": "number", "exclusiveMinimum": 0},
        "warmup_ms": {"type": "integer", "minimum": 0},
        "calibration_ms": {"type": "integer", "minimum": 1},
        **{name: _LOADGEN for name in _SCENARIO["enum"]},
    },
    ("submittable", "timeout_s", "warmup_ms", "calibration_ms"),
)
_PARAMETER = _table(
    {
        "type": {"enum": ["int", "float", "string", "bool"]},
        "min": {"type": "number"},
        "max": {"type": "number"},
        "choices": {"type": "array", "minItems": 1},
        "default": {"type": ["number", "string", "boolean"]},
        "scenarios": _list(_SCENARIO, 1),
        "profiles": _list(_PROFILE, 1),
        "help": _TEXT,
    },
    ("type", "help"),
)
_TENSOR = _table(
    {
        "name": _TEXT,
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}},
        "layout": {"enum": ["NHWC", "NCHW", "flat"]},
        "scale": {"type": "number"},
        "classes": {"type": "integer", "minimum": 1},
    }
)

BODIES: dict[str, dict[str, Any]] = {
    "benchmark": _table(
        {
            "task": _WORD,
            "model": _WORD,
            "scenarios": {
                "type": "object",
                "propertyNames": _SCENARIO,
                "minProperties": 1,
                "additionalProperties": _table({"metric": _TEXT}, ("metric",)),
            },
            "modes": _list(_MODE, 1),
            "quality": _table(
                {
                    "metric": _WORD,
                    "reference": {"type": "number", "minimum": 0, "maximum": 1},
                    "target": {"type": "number", "minimum": 0, "maximum": 1},
                },
                ("metric", "reference", "target"),
            ),
            "profiles": {
                "type": "object",
                "propertyNames": _PROFILE,
                "minProperties": 1,
                "additionalProperties": _PROFILE_TABLE,
            },
        },
        ("task", "scenarios", "modes", "quality", "profiles"),
    ),
    "program": _table(
        {
            "contract": {"const": 1},
            "command": {"type": "array", "items": _TEXT, "minItems": 1},
            "files": _list(_FILE, 1),
            "inputs": _list(_WORD),
            "environment": {"type": "object", "additionalProperties": {"type": "string"}},
            "outputs": {
                "type": "array",
                "minItems": 1,
                "items": _table(
                    {"name": _FILE, "role": _WORD, "required": {"type": "boolean"}},
                    ("name", "role"),
                ),
            },
            "parameters": {
                "type": "object",
                "propertyNames": _WORD,
                "additionalProperties": _PARAMETER,
            },
        },
        ("contract", "command", "files", "outputs"),
    ),
    "model": _table(
        {
            "task": _WORD,
            "precision": _WORD,
            "format": _WORD,
            "parameter_count": {"type": "integer", "minimum": 0},
            "input": _TENSOR,
            "output": _TENSOR,
        },
        ("task", "input", "output"),
    ),
    "dataset": _table(
        {
            "task": _WORD,
            "layout": {"enum": ["npz", "idx"]},
            "samples": {"type": "integer", "minimum": 1},
            "performance_samples": {"type": "integer", "minimum": 1},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}},
            "images": _WORD,
            "labels": _WORD,
            "classes": {"type": "array", "items": _TEXT},
        },
        ("layout", "samples"),
    ),
    "package": _table(
        {
            "distribution": _NAME,
            "older": _list(_TEXT),
            "python": {"type": "string", "maxLength": 60},
            "adapter": _WORD,
            "module": {"type": "string", "pattern": r"^[A-Za-z_][A-Za-z0-9_.]*$"},
            "round": _WORD,
            "environment": {"type": "object", "additionalProperties": {"type": "string"}},
            "constraints": _list(_TEXT),
            "omit": {"type": "object", "additionalProperties": _TEXT},
        },
        ("distribution",),
    ),
    "suite": _table(
        {
            "members": {
                "type": "array",
                "minItems": 1,
                "items": _table(
                    {
                        "benchmark": _NAME,
                        "variations": _list(_WORD),
                        "scenarios": _list(_SCENARIO, 1),
                        "modes": _list(_MODE, 1),
                    },
                    ("benchmark",),
                ),
            }
        },
        ("members",),
    ),
}
"""Schema of each kind's own table; a kind that is not here takes a free one for now."""


def schema(kind: str) -> dict[str, Any]:
    """The whole JSON Schema of a `component.toml` of this kind."""
    properties: dict[str, Any] = {
        "kind": {"const": kind},
        "name": _NAME,
        "version": {
            "type": "string",
            "pattern": r"^[0-9A-Za-z][0-9A-Za-z.+!_-]*$",
            "maxLength": 60,
        },
        "title": _TEXT,
        "tags": _list(_WORD),
        "license": _TEXT,
        "source": _TEXT,
        "device": _TEXT,
        "requires": {"type": "array", "items": _REQUIREMENT},
        "variations": {
            "type": "object",
            "propertyNames": _WORD,
            "additionalProperties": _VARIATION,
        },
        "artifacts": {"type": "array", "items": _ARTIFACT},
        kind: BODIES.get(kind, {"type": "object"}),
    }
    required = ("kind", "name", "version", "title", "license")
    document = _table(properties, (*required, kind) if kind in BODIES else required)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **document}
