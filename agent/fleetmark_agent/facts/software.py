"""Tools on the board that were found, and run."""

from __future__ import annotations

import re
import shutil
import subprocess

from fleetmark_catalog.core.capabilities import Software

_TOOLS = (
    ("gcc", ("gcc", "-dumpfullversion"), r"^(\d+(?:\.\d+)*)"),
    ("bubblewrap", ("bwrap", "--version"), r"(\d+(?:\.\d+)+)"),
    ("adb", ("adb", "version"), r"Version (\d[\w.]*)"),
)


def probe() -> tuple[Software, ...]:
    """Each tool that answers with its version. What programs need is detected by the catalog."""
    found: list[Software] = []
    for name, command, pattern in _TOOLS:
        path = shutil.which(command[0])
        if path is None:
            continue
        try:
            done = subprocess.run(
                [path, *command[1:]], check=True, capture_output=True, text=True, timeout=5
            )
        except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
            continue
        version = re.search(pattern, done.stdout, re.MULTILINE)
        if version:
            found.append(Software(name, version.group(1), path))
    return tuple(found)
