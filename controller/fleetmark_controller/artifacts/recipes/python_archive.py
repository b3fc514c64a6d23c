"""A Python in one archive, from the Debian packages that it is spread over.

Options: `debs`, the packages; `paths` and `without`, patterns of the files that are taken and left
out. The result is a tar file of regular files, in the order of their names, without times, owners
and compression: the same bytes wherever the packages are the same.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from fleetmark_controller.artifacts import from_deb


def make(options: Mapping[str, Any], folder: Path, limit_bytes: int) -> Path:
    """See the module."""
    patterns = [str(path) for path in options["paths"]]
    without = [str(path) for path in options.get("without", ())]
    files: dict[str, bytes] = {}
    for package in options["debs"]:
        for name, data in from_deb.matching(str(package), patterns, folder, limit_bytes):
            if not any(fnmatchcase(name, pattern) for pattern in without):
                files[name] = data
    if not files:
        raise ValueError("no file is to be taken")
    target = folder / "python.tar"
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            entry.mode = 0o755 if "/bin/" in f"/{name}" else 0o644
            archive.addfile(entry, io.BytesIO(data))
    return target
