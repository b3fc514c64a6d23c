"""Values of documents that a device or its program wrote: any type, any size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def table(value: object) -> Mapping[str, Any]:
    """Return `value` if it is a mapping, otherwise an empty one."""
    return value if isinstance(value, Mapping) else {}


def number(value: object, most: float) -> float | None:
    """Return `value` as a float if it is a finite number from 0 to `most`, otherwise None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
        return None
    return float(value)
