"""The device's temperature: the hottest of its SoC's sensors. Light: heartbeats carry it."""

from __future__ import annotations

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
"""A driver may be loaded later."""


class Thermometer:
    """Reads the same sensors again and again; they are found and chosen once, when it is made."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.choice: SensorChoice = choose_sensors(find_sensors(root))

    def read(self) -> dict[str, float | None]:
        """Return each sensor's reading in °C, by its name."""
        return {sensor.name: sensor.celsius() for sensor in self.choice.used}


class LastingThermometer:
    """The thermometer of an agent's whole life: it learns which sensors never change."""

    def __init__(self, root: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Reads nothing yet."""
        self.history = SensorHistory()
        self._root = root
        self._clock = clock
        self._found: Thermometer | None = None
        self._found_s = 0.0

    def celsius(self) -> float | None:
        """Return the highest temperature now; None where no sensor of the SoC gives one."""
        now_s = self._clock()
        if self._found is None or now_s >= self._found_s + _FIND_AGAIN_S:
            self._found, self._found_s = Thermometer(self._root), now_s
        readings = self._found.read()
        self.history.add(now_s, readings)
        return hottest_c(readings, self.history.stuck())


def read_temperature(root: Path = Path("/")) -> float | None:
    """Return the highest temperature of the SoC's sensors, by one look."""
    return LastingThermometer(root).celsius()
