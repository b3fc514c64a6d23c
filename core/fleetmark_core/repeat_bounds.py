"""What `--stable` waits for, and how long: the board cools before a run, runs repeat until sure.

A benchmark component may set these figures (`[benchmark.condition]`); agent and controller read
them from the lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True)
class Bounds:
    """Figures of a stable campaign."""

    start_temperature_c: float = 65.0
    """Above this a board is too warm to begin: it may slow down before it is done."""
    cool_wait_s: float = 300.0
    """The longest wait for that."""
    interval_percent: float = 5.0
    """Half of the 95 % interval of the official figure over the runs, in percent of their mean."""
    least_runs: int = 3
    """Before so many there is no interval worth the name."""
    most_runs: int = 10
    """After so many it is left as it is."""


def bounds_of(benchmark: object) -> Bounds:
    """The bounds of a lock's benchmark table; what is no sensible number is ignored."""
    table = benchmark.get("condition") if isinstance(benchmark, Mapping) else None
    if not isinstance(table, Mapping):
        return Bounds()
    usable: dict[str, Any] = {}
    for field in fields(Bounds):
        value = table.get(field.name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        if 0 <= value <= 1e6:
            default = getattr(Bounds(), field.name)
            usable[field.name] = type(default)(value)
    return replace(Bounds(), **usable)
