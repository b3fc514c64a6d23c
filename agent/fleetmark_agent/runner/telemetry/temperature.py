"""The device's temperature: the hottest of its SoC's sensors. Light: heartbeats carry it."""

from __future__ import annotations

from pathlib import Path

from fleetmark_agent.fingerprint.thermal_sensors import (
    SensorChoice,
    choose_sensors,
    find_sensors,
    hottest_c,
)


def read_temperature(root: Path = Path("/")) -> float | None:
    """Return the highest temperature of the SoC's sensors now; None where there are none."""
    return hottest_c(Thermometer(root).read())


class Thermometer:
    """Reads the same sensors again and again; they are found and chosen once, when it is made."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.choice: SensorChoice = choose_sensors(find_sensors(root))

    def read(self) -> dict[str, float | None]:
        """Return each sensor's reading in °C, by its name."""
        return {sensor.name: sensor.celsius() for sensor in self.choice.used}
