"""Parameters that nobody set. `checked` stands in `fleetmark_core.parameter_values`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def defaults(definitions: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Values of parameters that nobody set; those without a default are not there."""
    return {
        name: definition["default"]
        for name, definition in sorted(definitions.items())
        if "default" in definition
    }
