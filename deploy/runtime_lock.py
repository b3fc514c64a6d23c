"""Print the wheels of a runtime with their hashes: runtime_lock.py RUNTIME 3.11 aarch64.

RUNTIME is a package of the catalog that has a detection rule of its name. The lines are for
`pip download --require-hashes`. Nothing is printed where the catalog has no wheels.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

COMPONENTS = Path(__file__).resolve().parent.parent / "catalog/fleetmark_catalog/components"
_OLD_NUMPY = frozenset({"tflite-runtime"})
"""Runtimes that were built for NumPy 1."""


def runtime_lock(runtime: str, python: str, arch: str, components: Path = COMPONENTS) -> str:
    """Return one line for each wheel of the runtime and of NumPy.

    Raises:
        ValueError: the catalog has no such runtime with a detection rule.
    """
    if not (components / "soft" / runtime / "component.toml").is_file():
        raise ValueError(f"{runtime!r} has no detection rule, so that a kit cannot run it")
    wheels = _wheels(components / "package" / runtime / "wheels.json", python, arch, "")
    if not wheels:
        return ""
    major = "1." if runtime in _OLD_NUMPY else "2."
    numpy = _wheels(components / "package/numpy/wheels.json", python, arch, major)
    lines = {f"{one['name']}=={one['version']} --hash=sha256:{one['sha256']}\n" for one in wheels}
    lines |= {f"{one['name']}=={one['version']} --hash=sha256:{one['sha256']}\n" for one in numpy}
    return "".join(sorted(lines))


def _wheels(path: Path, python: str, arch: str, version: str) -> list[dict[str, Any]]:
    """Return the wheels of the first fitting set of versions."""
    if not path.is_file():
        raise ValueError(f"the catalog has no wheels of {path.parent.name!r}")
    document = json.loads(path.read_bytes())
    for chosen in document["sets"]:
        fits = chosen["python"] == python and chosen["arch"] == arch
        if fits and chosen["version"].startswith(version):
            return [document["wheels"][name] for name in chosen["wheels"]]
    return []


if __name__ == "__main__":
    try:
        name, version, machine = sys.argv[1:4]
        sys.stdout.write(runtime_lock(name, version, machine))
    except ValueError as error:
        sys.exit(f"runtime_lock: {error}")
