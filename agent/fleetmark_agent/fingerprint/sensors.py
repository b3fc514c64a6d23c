"""Sensors of the device, and the files from which they are read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fleetmark_agent.fingerprint import sysfs
from fleetmark_agent.fingerprint.power_supplies import own_supplies
from fleetmark_agent.fingerprint.thermal_sensors import choose_sensors, find_sensors
from fleetmark_core.capabilities import Sensor


def probe(root: Path = Path("/")) -> tuple[Sensor, ...]:
    """Return the sensors for temperature, frequency, power and battery that are readable now."""
    return tuple(_all(root))


def trusted(root: Path = Path("/")) -> tuple[Sensor, ...]:
    """Return the sensors by which the SoC's temperature is known; see `thermal_sensors`."""
    used = choose_sensors(find_sensors(root)).used
    return tuple(_sensor("soc-temperature", sensor.name, sensor.path, root) for sensor in used)


def _all(root: Path) -> Iterator[Sensor]:
    for path in sorted((root / "sys/class/thermal").glob("thermal_zone*/temp")):
        if sysfs.whole(path) is not None:
            yield _sensor(
                "temperature", sysfs.text(path.with_name("type")) or path.parent.name, path, root
            )
    for path in sorted((root / "sys/class/hwmon").glob("hwmon*/*_input")):
        kind = {"temp": "temperature", "powe": "power", "curr": "current", "in": "voltage"}.get(
            path.name[:4] if not path.name.startswith("in") else "in"
        )
        if kind and sysfs.whole(path) is not None:
            label = sysfs.text(path.with_name(path.name.replace("_input", "_label")))
            chip = sysfs.text(path.with_name("name")) or path.parent.name
            yield _sensor(kind, f"{chip} {label or path.name.removesuffix('_input')}", path, root)
    for path in sorted(
        (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq")
    ):
        if sysfs.whole(path):
            yield _sensor("frequency", path.parent.parent.name, path, root)
    for path in sorted((root / "sys/class/powercap").glob("*/energy_uj")):
        if sysfs.whole(path) is not None:
            yield _sensor(
                "energy", sysfs.text(path.with_name("name")) or path.parent.name, path, root
            )
    for path in (folder / "capacity" for folder in own_supplies(root)):
        if sysfs.whole(path) is not None:
            yield _sensor("battery", path.parent.name, path, root)


def _sensor(kind: str, name: str, path: Path, root: Path) -> Sensor:
    return Sensor(kind, sysfs.printable(name, 80) or kind, f"/{path.relative_to(root)}")
