"""The program by which the firmware of a Raspberry Pi answers."""

from __future__ import annotations

from pathlib import Path

VCGENCMD = ("usr/bin/vcgencmd", "opt/vc/bin/vcgencmd")


def vcgencmd(root: Path = Path("/")) -> Path | None:
    """Return the program `vcgencmd` of the device, if it has one."""
    return next((path for name in VCGENCMD if (path := root / name).is_file()), None)
