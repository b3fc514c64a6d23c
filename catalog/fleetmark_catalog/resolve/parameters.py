"""Values of a program's parameters: from the text of `--set` to a checked value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fleetmark_catalog.core.errors import CatalogError, Fault

_BOOL = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def parse_value(name: str, definition: Mapping[str, Any], text: str) -> Any:
    """The value of parameter `name` that `text` stands for.

    Raises:
        CatalogError: fault UNKNOWN_WORD: not of the type, out of range or not among the choices.
    """
    value = _typed(definition["type"], text.strip())
    if value is None:
        raise _refused(name, text, definition)
    check_value(name, definition, value)
    return value


def check_value(name: str, definition: Mapping[str, Any], value: Any) -> None:
    """Refuse a value that its definition does not allow.

    Raises:
        CatalogError: fault UNKNOWN_WORD.
    """
    choices = definition.get("choices")
    below = "min" in definition and value < definition["min"]
    above = "max" in definition and value > definition["max"]
    if below or above or (choices is not None and value not in choices):
        raise _refused(name, str(value), definition)


def allowed(definition: Mapping[str, Any]) -> str:
    """The allowed values for a person: `int from 1 to 256`."""
    if "choices" in definition:
        return "one of " + ", ".join(map(str, definition["choices"]))
    bounds = [
        f"{word} {definition[key]}"
        for word, key in (("from", "min"), ("to", "max"))
        if key in definition
    ]
    return " ".join([definition["type"], *bounds])


def defaults(definitions: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Values of parameters that nobody set; those without a default are not there."""
    return {
        name: definition["default"]
        for name, definition in sorted(definitions.items())
        if "default" in definition
    }


def _typed(kind: str, text: str) -> Any:
    try:
        if kind == "int":
            return int(text)
        if kind == "float":
            value = float(text)
            return value if math.isfinite(value) else None
    except ValueError:
        return None
    return _BOOL.get(text.lower()) if kind == "bool" else text


def _refused(name: str, text: str, definition: Mapping[str, Any]) -> CatalogError:
    return CatalogError(
        Fault.UNKNOWN_WORD,
        f"parameter {name} cannot be {text[:60]!r}",
        "",
        f"Allowed: {allowed(definition)}",
    )
