"""Recipe for an idx file with selected entries of others: a new split of a data set, seeded.

Options: `deb` and `paths` name gzipped idx files of one package, whose entries are concatenated in
this order. `seed` initializes NumPy's RandomState, whose permutation of all entries is used.
`first` and `count` select the part of the permutation that is kept, in its order.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fleetmark_controller.artifacts import from_deb

_UINT8 = 0x08


def make(options: Mapping[str, Any], folder: Path, limit_bytes: int) -> Path:
    """Generate the file; the module describes the options."""
    paths = [str(path) for path in options["paths"]]
    found = dict(from_deb.matching(str(options["deb"]), paths, folder, limit_bytes))
    every = np.concatenate([_read(found[path]) for path in paths])
    # NumPy's compatibility policy freezes RandomState's permutation, but not that of newer
    # generators.
    order = np.random.RandomState(int(options["seed"])).permutation(len(every))
    first = int(options["first"])
    chosen = every[order[first : first + int(options["count"])]]
    target = folder / "selection"
    header = struct.pack(f">HBB{chosen.ndim}I", 0, _UINT8, chosen.ndim, *chosen.shape)
    target.write_bytes(header + chosen.tobytes())
    return target


def _read(packed: bytes) -> Any:
    data = gzip.decompress(packed)
    zeros, kind, dimensions = struct.unpack_from(">HBB", data)
    if zeros != 0 or kind != _UINT8:
        raise ValueError("a source is not an idx file of bytes")
    shape = struct.unpack_from(f">{dimensions}I", data, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
