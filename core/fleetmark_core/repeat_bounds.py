"""Limits of `--stable` campaigns: how long a device cools and how often a run repeats.

A benchmark component may set these values (`[benchmark.condition]`). Agent and controller read them
from the lockfile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True)
class RepeatBounds:
    """Limits of a stable campaign."""

    start_temperature_c: float = 65.0
    """Above this temperature a run does not start: the device might throttle before the run ends.
    """
    cool_wait_s: float = 300.0
    """Longest time to wait for that temperature."""
    interval_percent: float = 5.0
    """Target for half of the 95 % confidence interval of the official metric over all runs, in
    percent of their mean."""
    least_runs: int = 3
    """Minimum number of runs: fewer runs give no meaningful interval."""
    most_runs: int = 10
    """Maximum number of runs, after which the interval is accepted as it is."""


def bounds_of(benchmark: object) -> RepeatBounds:
    """Return the limits from a lockfile's benchmark table; values out of range are ignored."""
    table = benchmark.get("condition") if isinstance(benchmark, Mapping) else None
    if not isinstance(table, Mapping):
        return RepeatBounds()
    usable: dict[str, Any] = {}
    for field in fields(RepeatBounds):
        value = table.get(field.name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        if 0 <= value <= 1e6:
            default = getattr(RepeatBounds(), field.name)
            usable[field.name] = type(default)(value)
    return replace(RepeatBounds(), **usable)
