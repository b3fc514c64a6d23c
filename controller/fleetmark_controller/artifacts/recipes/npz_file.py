"""NumPy archives with the same bytes everywhere: NumPy's own differ between versions."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

# The zip format starts at 1980.
_TIME = (1980, 1, 1, 0, 0, 0)


def write_npz(target: Path, arrays: Mapping[str, Any]) -> Path:
    """Write the arrays to `target`, stored and without times, and return its path."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            data = io.BytesIO()
            np.lib.format.write_array(data, array, version=(1, 0))
            entry = zipfile.ZipInfo(f"{name}.npy", _TIME)
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, data.getvalue())
    return target
