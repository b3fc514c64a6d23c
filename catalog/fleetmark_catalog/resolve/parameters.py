"""Default values of parameters. `fleetmark_core.parameter_values` validates values that are set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def defaults(definitions: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the default values; parameters without a default are omitted."""
    return {
        name: definition["default"]
        for name, definition in sorted(definitions.items())
        if "default" in definition
    }
