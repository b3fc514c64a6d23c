"""Power supplies of the device itself, without the batteries of mice and headsets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fleetmark_agent.fingerprint import sysfs


def own_supplies(root: Path = Path("/")) -> Iterator[Path]:
    """Yield the folders of the supplies that can power this device.

    `scope` is `Device` for a supply that powers a peripheral or is powered by this device (the
    kernel's ABI/testing/sysfs-class-power); `present` is 0 for a bay without a battery.
    """
    for path in sorted((root / "sys/class/power_supply").glob("*")):
        peripheral = (sysfs.text(path / "scope") or "").lower() == "device"
        if not peripheral and sysfs.whole(path / "present") != 0:
            yield path
