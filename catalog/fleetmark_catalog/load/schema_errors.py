"""Explains schema violations to users: key, found value, allowed values."""

from __future__ import annotations

import json
from typing import Any

from jsonschema.exceptions import ValidationError

from fleetmark_core.suggest import hint

_SHOWN = 200


def explain(error: ValidationError) -> str:
    """Return one schema violation as text for users: key, found value, allowed values."""
    path = [str(part) for part in error.absolute_path]
    key = ".".join(path)[:_SHOWN]
    rule, limit, instance = str(error.validator), error.validator_value, error.instance
    if rule == "additionalProperties" and isinstance(error.schema, dict):
        known = list(error.schema.get("properties", {}))
        unknown = next(name for name in _names(instance) if name not in known)
        named = ".".join([*path, unknown])[:_SHOWN]
        return f"key {named}: unknown key. {hint(unknown[:_SHOWN], known)}"
    if rule == "required":
        missing = next(name for name in _names(limit) if name not in _names(instance))
        return f"key {'.'.join([*path, missing])[:_SHOWN]}: the key is required, but missing"
    found = json.dumps(instance, default=str)[:120]
    where = f"{key} (a name in it)" if "propertyNames" in error.absolute_schema_path else key
    return (
        f"key {where or 'top level'}: found {found}, allowed {_allowed(rule, limit, error.message)}"
    )


_ALLOWED = {
    "type": "a value of type {}",
    "const": "{}",
    "pattern": "text like {}",
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} entries",
    "minProperties": "at least {} entries",
    "uniqueItems": "distinct entries",
}


def _allowed(rule: str, limit: Any, message: str) -> str:
    if rule == "enum":
        return ", ".join(map(str, limit))
    if rule in ("oneOf", "anyOf"):
        ways = [" and ".join(way.get("required", ())) for way in limit]
        few = "exactly one of" if rule == "oneOf" else "at least one of"
        return f"{few}: {' | '.join(ways)}"
    return _ALLOWED[rule].format(limit) if rule in _ALLOWED else message[:_SHOWN]


def _names(value: Any) -> list[str]:
    return [str(name) for name in value]
