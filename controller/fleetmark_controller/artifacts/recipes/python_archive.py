"""Recipe for a Python interpreter in one archive, from the Debian packages that contain its parts.

Options: `debs` are the packages; `paths` and `without` are patterns of the files to include and to
leave out. The result is an uncompressed tar file of regular files, sorted by name, without times
and owners: equal packages give equal bytes.
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
    """Generate the file; the module describes the options."""
    patterns = [str(path) for path in options["paths"]]
    without = [str(path) for path in options.get("without", ())]
    files: dict[str, bytes] = {}
    for package in options["debs"]:
        for name, data in from_deb.matching(str(package), patterns, folder, limit_bytes):
            if not any(fnmatchcase(name, pattern) for pattern in without):
                files[name] = data
    if not files:
        raise ValueError("no file is selected")
    target = folder / "python.tar"
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            entry.mode = 0o755 if "/bin/" in f"/{name}" else 0o644
            archive.addfile(entry, io.BytesIO(data))
    return target
