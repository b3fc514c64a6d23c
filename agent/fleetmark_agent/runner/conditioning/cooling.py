"""What a stable run waits for and where it runs: decisions, pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

from fleetmark_core.repeat_bounds import Bounds

LOOK_S = 2.0
"""Between two looks at the temperature."""
PLATEAU_S, PLATEAU_C = 60.0, 0.5
"""A board that cools by less than this in so long will not get cooler."""


class Cooling(Enum):
    """Whether to wait on, or why not; the texts are those of the run's provenance."""

    WAIT = "it cools"
    COOL = "it is cool enough"
    LEVEL = "it does not get cooler"
    TOO_LONG = "it was waited for long enough"
    UNKNOWN = "it has no temperature to read"


def cooling(looks: Sequence[tuple[float, float | None]], bounds: Bounds) -> Cooling:
    """What to do after these looks: (seconds since the first, temperature in °C)."""
    at_s, now_c = looks[-1]
    if now_c is None:
        return Cooling.UNKNOWN
    if now_c <= bounds.start_temperature_c:
        return Cooling.COOL
    if at_s >= bounds.cool_wait_s:
        return Cooling.TOO_LONG
    before = [c for s, c in looks if c is not None and s <= at_s - PLATEAU_S]
    if before and before[-1] - now_c < PLATEAU_C:
        return Cooling.LEVEL
    return Cooling.WAIT


def cores_for(allowed: Sequence[int], capacity: Mapping[int, int], threads: int) -> list[int]:
    """The cores that a job should keep to; empty: nothing is gained by keeping to some.

    Of cores of different kinds the fastest, so that a run is not on a slow one by chance; and of
    these as many as the job has threads (0: not known), from the end: interrupts go to the first.
    """
    most = max((capacity.get(core, 0) for core in allowed), default=0)
    fastest = sorted(core for core in allowed if capacity.get(core, 0) == most)
    chosen = fastest[-threads:] if 0 < threads < len(fastest) else fastest
    return [] if len(chosen) == len(allowed) else chosen


def others(allowed: Sequence[int], chosen: Sequence[int]) -> list[int]:
    """Where the rest goes meanwhile; everywhere, if the job has no cores of its own."""
    left = sorted(set(allowed) - set(chosen))
    return left if chosen and left else sorted(allowed)
