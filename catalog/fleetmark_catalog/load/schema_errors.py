"""Explains schema violations to users: key, found value, allowed values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.protocols import Validator
from jsonschema.validators import extend

from fleetmark_core.suggest import hint

_SHOWN = 200
_MAX_ERRORS = 1000
"""Maximum number of schema violations to collect; one of them is reported."""
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


def validator_of(schema: Mapping[str, Any]) -> Validator:
    """Return a validator for documents of a schema."""
    made: Validator = _Validator(schema)
    return made


def fault(validator: Validator, document: Mapping[str, Any]) -> str:
    """Return the most useful schema violation as text for users; empty for a valid document."""
    errors = list(islice(validator.iter_errors(document), _MAX_ERRORS))
    if not errors:
        return ""
    # A mistyped key is both unknown and missing; the unknown key is the more useful error.
    unknown = [error for error in errors if error.validator == "additionalProperties"]
    error = best_match(unknown or errors)
    return explain(error) if error is not None else "does not match the schema of its kind"


def _unique_items(
    validator: Any, wanted: bool, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    """Check `uniqueItems` in linear time: the library compares all pairs of entries."""
    if wanted and validator.is_type(instance, "array"):
        texts = {json.dumps(item, sort_keys=True, default=str) for item in instance}
        if len(texts) < len(instance):
            yield ValidationError("has duplicate entries")


_Validator: Any = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator, {"uniqueItems": _unique_items}
)


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
