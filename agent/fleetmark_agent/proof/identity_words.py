"""Names and serial numbers of this device, which must not leave it."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

from fleetmark_agent.fingerprint import sysfs
from fleetmark_agent.proof.scrub import Scrubber

_FIRST_LOGIN = 1000
"""Number of the first account that is not one of the system."""
_NOBODY = 65000
_SERIALS = (
    *("proc/device-tree/serial-number", "sys/firmware/devicetree/base/serial-number"),
    *("sys/class/dmi/id/*_serial", "sys/class/dmi/id/product_uuid"),
    *("etc/machine-id", "var/lib/dbus/machine-id", "proc/sys/kernel/random/boot_id"),
    *("sys/block/*/device/serial", "sys/block/*/device/cid", "sys/block/*/device/wwid"),
    *("sys/block/*/serial", "sys/class/power_supply/*/serial_number"),
    *("sys/bus/usb/devices/*/serial", "sys/class/mmc_host/*/*/serial"),
)
_MOST = 500


def scrubber_here(root: Path = Path("/")) -> Scrubber:
    """Return the scrubber for the device whose files are below `root`."""
    return Scrubber(_hosts(root), _users(root), _serials(root))


def _hosts(root: Path) -> set[str]:
    names = {socket.gethostname(), sysfs.text(root / "etc/hostname") or ""}
    names.add(sysfs.text(root / "proc/sys/kernel/hostname") or "")
    parts = {part for name in names for part in (name.partition(".")[0], name.partition(".")[2])}
    return {name for name in names | parts if name}


def _users(root: Path) -> set[str]:
    found = {os.environ.get(name, "") for name in ("USER", "LOGNAME", "SUDO_USER")}
    for line in (sysfs.text(root / "etc/passwd") or "").splitlines()[:_MOST]:
        fields = line.split(":")
        if len(fields) < 6 or not fields[2].isdigit():
            continue
        if _FIRST_LOGIN <= int(fields[2]) < _NOBODY:
            found.add(fields[0])
            found.update(fields[4].split(","))
            found.update(fields[4].partition(",")[0].split())
            found.add(Path(fields[5]).name)
    return {name for name in found if name}


def _serials(root: Path) -> set[str]:
    found: set[str] = set()
    for pattern in _SERIALS:
        for path in list(root.glob(pattern))[:_MOST]:
            found.add(sysfs.text(path) or "")
    for path in list((root / "sys/class/net").glob("*/address"))[:_MOST]:
        # The name of a sensor or a host may have a card's address without its colons.
        found.add((sysfs.text(path) or "").replace(":", ""))
    for line in (sysfs.text(root / "proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        with suppress(ValueError):
            if key.strip().lower() == "serial" and int(value.strip(), 16):
                found.add(value.strip())
    return {serial for serial in found if serial.strip("0")}
