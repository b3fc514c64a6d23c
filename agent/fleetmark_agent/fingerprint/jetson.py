"""Facts of NVIDIA Jetson devices: the version of their Linux (L4T), and their power modes."""

from __future__ import annotations

import re
from pathlib import Path

from fleetmark_agent.fingerprint import sysfs

_RELEASE = re.compile(r"\bR(\d{1,3})\s*\(\w+\),\s*REVISION:\s*(\d[\d.]{0,15})")
_MODE = re.compile(r"^\s*<\s*POWER_MODEL\s+ID=(\d{1,4})\s+NAME=(\S{1,40})\s*>", re.MULTILINE)
_CURRENT = re.compile(r"\bpmode:(\d{1,6})\b")
_RELEASE_FILE = "etc/nv_tegra_release"
_MODES_FILE = "etc/nvpmodel.conf"
_CURRENT_FILE = "var/lib/nvpmodel/status"


def is_jetson(root: Path = Path("/")) -> bool:
    """Return whether the device has Jetson Linux."""
    return sysfs.text(root / _RELEASE_FILE) is not None


def l4t_version(root: Path = Path("/")) -> str | None:
    """Return the version of Jetson Linux, `36.4.3`; None on other devices."""
    found = _RELEASE.search(sysfs.text(root / _RELEASE_FILE) or "")
    return f"{found.group(1)}.{found.group(2)}".rstrip(".") if found else None


def power_modes(root: Path = Path("/")) -> dict[int, str]:
    """Return the names of the power modes of `nvpmodel` by number."""
    text = sysfs.text(root / _MODES_FILE) or ""
    return {
        int(number): shown
        for number, name in _MODE.findall(text)
        if (shown := sysfs.printable(name, 40))
    }


def power_mode(root: Path = Path("/")) -> int | None:
    """Return the number of the power mode that is set; None if it is unknown."""
    found = _CURRENT.search(sysfs.text(root / _CURRENT_FILE) or "")
    return int(found.group(1)) if found else None
