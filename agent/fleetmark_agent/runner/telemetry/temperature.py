"""The device's temperature: its hottest SoC sensor. Small, because heartbeats need it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from fleetmark_agent.fingerprint.thermal_sensors import (
    SensorChoice,
    SensorHistory,
    choose_sensors,
    find_sensors,
    hottest_c,
)

_FIND_AGAIN_S = 600.0
"""Interval of the search for sensors, because a driver may be loaded later."""


class Thermometer:
    """Reader of a fixed set of sensors, which are found and selected at creation."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.choice: SensorChoice = choose_sensors(find_sensors(root))

    def read(self) -> dict[str, float | None]:
        """Return each sensor's reading in °C, by its name."""
        return {sensor.name: sensor.celsius() for sensor in self.choice.used}


class LastingThermometer:
    """Thermometer for the agent's whole lifetime; it learns which sensors never change."""

    def __init__(self, root: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Set the folder and the clock; nothing is read yet."""
        self.history = SensorHistory()
        self._root = root
        self._clock = clock
        self._found: Thermometer | None = None
        self._found_s = 0.0

    def celsius(self) -> float | None:
        """Return the highest temperature now; None if no sensor of the SoC gives one."""
        now_s = self._clock()
        if self._found is None or now_s >= self._found_s + _FIND_AGAIN_S:
            self._found, self._found_s = Thermometer(self._root), now_s
            re.purge()  # the patterns for names, needed again only at the next search
        readings = self._found.read()
        self.history.add(now_s, readings)
        return hottest_c(readings, self.history.stuck())


def read_temperature(root: Path = Path("/")) -> float | None:
    """Return the highest temperature of the SoC's sensors from a single reading."""
    return LastingThermometer(root).celsius()
