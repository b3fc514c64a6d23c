"""Decision how long a stable run waits for the device to cool. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from fleetmark_agent.fingerprint.thermal_sensors import STUCK_LOOKS, STUCK_S
from fleetmark_core.repeat_bounds import RepeatBounds

LOOK_S = 2.0
"""Time between two temperature readings."""
PLATEAU_S, PLATEAU_C = 60.0, 0.5
"""A device that cools by less than `PLATEAU_C` within `PLATEAU_S` will not get cooler."""


class CooldownDecision(Enum):
    """Decision to wait or to start, with the reason; the texts appear in the run's provenance."""

    WAIT = "it cools"
    COOL = "it is cool enough"
    BELOW = "it is below the temperature that was asked for"
    LEVEL = "it does not get cooler"
    UNCHANGED = "no temperature sensor changes"
    TOO_LONG = "it was waited for long enough"
    UNKNOWN = "it has no temperature to read"


def cooling(looks: Sequence[tuple[float, float | None]], bounds: RepeatBounds) -> CooldownDecision:
    """Decide what to do after these readings: (seconds since the first, temperature in °C)."""
    at_s, now_c = looks[-1]
    if now_c is None:
        return CooldownDecision.UNKNOWN
    if now_c <= bounds.start_temperature_c:
        return CooldownDecision.COOL
    if at_s >= bounds.cool_wait_s:
        return CooldownDecision.TOO_LONG
    if (
        at_s - looks[0][0] >= STUCK_S
        and len(looks) >= STUCK_LOOKS
        and all(celsius == now_c for _, celsius in looks)
    ):
        return CooldownDecision.UNCHANGED
    before = [c for s, c in looks if c is not None and s <= at_s - PLATEAU_S]
    if before and before[-1] - now_c < PLATEAU_C:
        return CooldownDecision.LEVEL
    return CooldownDecision.WAIT
