"""Validation of values of parameters and of open variations against their definitions. Pure.

Both sides use it: the controller when it creates an order, the device before it runs one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fleetmark_core.errors import ErrorKind, FleetmarkError

_BOOL = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_KINDS: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "string": (str,),
}


def parse_value(name: str, definition: Mapping[str, Any], text: str) -> Any:
    """Return the value of parameter `name` that `text` represents.

    Raises:
        FleetmarkError: UNKNOWN_WORD: wrong type, out of range, or not among the choices.
    """
    value = _typed(definition["type"], text.strip())
    if value is None:
        raise _bad_value_error(name, text, definition)
    check_value(name, definition, value)
    return value


def check_value(name: str, definition: Mapping[str, Any], value: Any) -> None:
    """Reject a value that its definition does not allow.

    Raises:
        FleetmarkError: UNKNOWN_WORD.
    """
    kinds = _KINDS.get(definition["type"], (str,))
    strange = not isinstance(value, kinds) or (bool not in kinds and isinstance(value, bool))
    if strange or (isinstance(value, float) and not math.isfinite(value)):
        raise _bad_value_error(name, str(value), definition)
    choices = definition.get("choices")
    below = "min" in definition and value < definition["min"]
    above = "max" in definition and value > definition["max"]
    if below or above or (choices is not None and value not in choices):
        raise _bad_value_error(name, str(value), definition)


def runtime_mismatch(
    parameters: Mapping[str, Any], definitions: Mapping[str, Mapping[str, Any]], runtime: str
) -> str:
    """Return why a parameter does not apply to a runtime; empty if all apply.

    Args:
        parameters: values by name.
        definitions: definitions of the program's parameters by name.
        runtime: name of the runtime's adapter.
    """
    for name in sorted(parameters):
        runtimes = definitions.get(name, {}).get("runtimes")
        if runtimes is not None and runtime not in runtimes:
            return (
                f"parameter {name} does not apply to runtime {runtime or 'none'}, only to"
                f" {', '.join(map(str, runtimes))}"
            )
    return ""


def describe_allowed(definition: Mapping[str, Any]) -> str:
    """Return the allowed values as text for users: `int from 1 to 256`."""
    if "choices" in definition:
        return "one of " + ", ".join(map(str, definition["choices"]))
    bounds = [
        f"{word} {definition[key]}"
        for word, key in (("from", "min"), ("to", "max"))
        if key in definition
    ]
    return " ".join([definition["type"], *bounds])


def overlay(table: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Return `table` overlaid with `change`: tables merge key by key, other values are replaced."""
    merged = dict(table)
    for key, value in change.items():
        earlier = merged.get(key)
        if isinstance(earlier, Mapping) and isinstance(value, Mapping):
            merged[key] = overlay(earlier, value)
        else:
            merged[key] = value
    return merged


def apply_value(name: str, definition: Mapping[str, Any], word: str, change: Any) -> Any:
    """Return the changes that the open variation `name` makes when it is chosen as `word`.

    `word` is for example `threads.4`; each `#` in `change` becomes the value at its end.

    Raises:
        FleetmarkError: UNKNOWN_WORD: the definition does not allow that value.
    """
    value = parse_value(name, definition, word.rpartition(".")[2])

    def fill(part: Any) -> Any:
        if isinstance(part, Mapping):
            return {key: fill(item) for key, item in part.items()}
        if isinstance(part, list):
            return [fill(item) for item in part]
        return value if part == "#" else part

    return fill(change)


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


def _bad_value_error(name: str, text: str, definition: Mapping[str, Any]) -> FleetmarkError:
    return FleetmarkError(
        ErrorKind.UNKNOWN_WORD,
        f"parameter {name} cannot be {text[:60]!r}",
        "",
        f"Allowed: {describe_allowed(definition)}",
    )
