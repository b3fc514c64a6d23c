"""Print the part of a lockfile that one Python on Linux installs: lock_for.py LOCK 3.11 aarch64.

`pip download` evaluates markers for the Python that runs it, even when it downloads for another
one.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement


def lock_for(lock: str, python: str, machine: str) -> str:
    """Return the entries whose markers apply, without the markers but with their hashes."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "platform_machine": machine,
    }
    kept = []
    for entry in re.findall(r"^(?:.*\\\n)*.+$", lock, re.MULTILINE):
        requirement_line, *hashes = re.split(r"\s+(?=--hash=)", entry.replace("\\\n", " "))
        requirement = Requirement(requirement_line.strip())
        if requirement.marker is None or requirement.marker.evaluate(environment):
            pinned = f"{requirement.name}{requirement.specifier}"
            kept.append(" ".join([pinned, *(text.strip() for text in hashes)]) + "\n")
    return "".join(kept)


if __name__ == "__main__":
    sys.stdout.write(lock_for(Path(sys.argv[1]).read_text(encoding="utf-8"), *sys.argv[2:4]))
