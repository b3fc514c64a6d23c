"""The archive with the values of a model's inputs: a NumPy archive of plain arrays.

The same arrays give the same bytes, so that the same import changes nothing. Reading it checks all
sizes before an array is allocated, and unpickles nothing.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from fleetmark_controller.artifacts.model_import.options import ArrayHead
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.zip_reader import open_zip

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MAX_BYTES = 1 << 30
"""Maximum size of all values of one import."""
MAX_ARRAYS = 1000
_MAX_AXES = 32
_TIME = (1980, 1, 1, 0, 0, 0)
_PLAIN = "biuf"
_DAMAGED = (
    *(ValueError, EOFError, KeyError, OSError, struct.error, SyntaxError, RecursionError),
    *(zipfile.BadZipFile, NotImplementedError, zlib.error, OverflowError),
)


def write_archive(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays by name, uncompressed.

    Raises:
        OSError: the file cannot be written.
    """
    import numpy as np

    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in sorted(arrays.items()):
            entry = zipfile.ZipInfo(f"{name}.npy", _TIME)
            entry.create_system = 3
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(entry, buffer.getvalue())


def read_heads(path: Path, where: str) -> dict[str, ArrayHead]:
    """Return type and shape of each array of an archive, without its values.

    Raises:
        FleetmarkError: USAGE: the file is damaged, too large, or has other content than plain
            arrays.
    """
    found: dict[str, ArrayHead] = {}
    with _Guarded(where), open_zip(path) as archive:
        for entry in _entries(archive, where):
            with archive.open(entry) as member:
                dtype, shape, _ = read_head(member, entry.filename, where)
            found[entry.filename.removesuffix(".npy")] = ArrayHead(str(dtype), shape)
    return found


def read_archive(path: Path, where: str) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of an archive, compressed or not.

    Raises:
        FleetmarkError: USAGE: the file is damaged, too large, or has other content than plain
            arrays.
    """
    found: dict[str, npt.NDArray[Any]] = {}
    with _Guarded(where), open_zip(path) as archive:
        for entry in _entries(archive, where):
            with archive.open(entry) as member:
                found[entry.filename.removesuffix(".npy")] = read_values(
                    member, entry.filename, where
                )
    return found


def read_member(path: Path, name: str, where: str) -> npt.NDArray[Any]:
    """Return one array of an archive.

    Raises:
        FleetmarkError: USAGE: the file is damaged or too large, or has no such array.
    """
    with _Guarded(where), open_zip(path) as archive:
        for entry in _entries(archive, where):
            if entry.filename == f"{name}.npy":
                with archive.open(entry) as member:
                    return read_values(member, entry.filename, where)
    raise values_error(where, f"has no array {name}")


def read_array(path: Path, where: str) -> npt.NDArray[Any]:
    """Return the array of a `.npy` file.

    Raises:
        FleetmarkError: USAGE: the file is damaged, too large, or not a plain array.
    """
    from fleetmark_core.regular_file import open_regular

    with _Guarded(where), open_regular(path) as file:
        return read_values(file, "", where)


def _entries(archive: zipfile.ZipFile, where: str) -> list[zipfile.ZipInfo]:
    entries = archive.infolist()
    if not entries or len(entries) > MAX_ARRAYS:
        raise values_error(where, f"has {len(entries)} arrays, expected 1 to {MAX_ARRAYS}")
    if sum(entry.file_size for entry in entries) > MAX_BYTES:
        raise values_error(where, f"has more than {MAX_BYTES >> 20} MiB of values")
    names = [entry.filename for entry in entries]
    strange = [name for name in names if not name.endswith(".npy") or names.count(name) > 1]
    if strange:
        raise values_error(where, f"has a member {strange[0][:80]!r}, which is not an array")
    return entries


def read_head(
    file: IO[bytes], name: str, where: str
) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """Return type, shape and order of the array that begins here; leave the file at its values.

    Raises:
        FleetmarkError: USAGE: it is not a plain array, or larger than `MAX_BYTES`.
        ValueError: it is damaged.
    """
    import numpy as np

    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise ValueError(f"format {version} is not supported")
    shape, is_fortran, dtype = read(file)
    which = f"array {name.removesuffix('.npy')[:80]!r} " if name else ""
    if dtype.hasobject:
        raise values_error(where, f"{which}holds Python objects (a pickle), which are never loaded")
    if dtype.kind not in _PLAIN or dtype.names is not None or dtype.itemsize > 8:
        raise values_error(where, f"{which}holds {dtype}, not plain numbers")
    size = int(dtype.itemsize)
    if len(shape) > _MAX_AXES or any(axis < 0 for axis in shape):
        raise ValueError(f"{which}has an invalid shape")
    for axis in shape:
        size *= axis
        if size > MAX_BYTES:
            raise values_error(where, f"{which}has more than {MAX_BYTES >> 20} MiB of values")
    return dtype, tuple(shape), is_fortran


def read_values(file: IO[bytes], name: str, where: str) -> npt.NDArray[Any]:
    """Return the array that begins here.

    Raises:
        FleetmarkError: USAGE: it is not a plain array, is larger than `MAX_BYTES`, or has fewer or
            more bytes than its shape.
        ValueError: it is damaged.
    """
    import numpy as np

    dtype, shape, is_fortran = read_head(file, name, where)
    size = int(dtype.itemsize)
    for axis in shape:
        size *= axis
    data = file.read(size)
    if len(data) < size or file.read(1):
        what = f"has {'fewer' if len(data) < size else 'more'} bytes than its shape {list(shape)}"
        raise values_error(where, f"{name.removesuffix('.npy')[:80]} {what}".strip())
    array = np.frombuffer(data, dtype)
    array = array.reshape(shape[::-1]).T if is_fortran else array.reshape(shape)
    # Other byte orders have other names of types.
    return np.ascontiguousarray(array.astype(dtype.newbyteorder("="), copy=False))


class _Guarded:
    """Context that reports damaged files as an error of the operator's file."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: object) -> None:
        if isinstance(error, _DAMAGED):
            raise values_error(self._where, f"cannot be read: {error}"[:400]) from error


def values_error(where: str, what: str) -> FleetmarkError:
    """Return the error for a file whose values cannot be used."""
    return FleetmarkError(ErrorKind.USAGE, what, where)
