"""Unpacks untrusted archives: regular files only, below the target, within limits.

Entries are unpacked into a scratch folder beside the target, which is renamed to the target only
when all entries are complete and valid. On any fault nothing is left. Only names, bytes and the
owner's execute bit are taken from an archive.
"""

from __future__ import annotations

import bz2
import gzip
import itertools
import lzma
import os
import shutil
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TypeVar, cast

from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.regular_file import open_regular
from fleetmark_core.zip_reader import open_zip

T = TypeVar("T")
_CHUNK = 1 << 18
_MAX_NAME = 255
_MAX_PATH = 1024
_MAX_DEPTH = 32
_UNREADABLE = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, gzip.BadGzipFile),
)
_RESERVED = frozenset(
    {"con", "prn", "aux", "nul"}
    | {f"{word}{number}" for word in ("com", "lpt") for number in range(1, 10)}
)
_HEADER_BYTES = 8192
_TAR_TYPES = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device node",
    tarfile.BLKTYPE: "a device node",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}


@dataclass(frozen=True)
class UnpackLimits:
    """Limits of an unpacked archive: total size, number of entries, size of the largest file."""

    total_bytes: int
    entries: int = 10_000
    file_bytes: int | None = None


@dataclass(frozen=True)
class _ArchiveEntry:
    path: tuple[str, ...]
    size_bytes: int
    executable: bool
    folder: bool


def unpack(archive: Path, target: Path, limits: UnpackLimits) -> list[Path]:
    """Unpack a zip or tar file (plain, gzip, bzip2, xz) into the new folder `target`.

    Returns:
        The files, relative to `target`, sorted.

    Raises:
        FleetmarkError: BAD_DOCUMENT: not an archive, truncated, larger than the limits, or an entry
            is not a regular file or folder with a unique, plain relative name.
        FileExistsError: `target` exists.
        OSError: `target` cannot be written.
    """
    if target.exists() or target.is_symlink():
        raise FileExistsError(17, os.strerror(17), str(target))
    scratch = target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}.partial")
    scratch.mkdir(mode=0o700)
    try:
        files = _unpack(archive, scratch, limits)
        scratch.chmod(0o755)
        scratch.rename(target)
    except (*_UNREADABLE, EOFError) as error:
        raise _bad_archive_error(f"cannot be read: {str(error) or 'truncated'}", archive) from error
    except (NotImplementedError, RuntimeError, ValueError, OverflowError) as error:
        # zipfile raises these for encryption, an unknown method or a damaged field.
        raise _bad_archive_error(f"cannot be read: {error}", archive) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return sorted(files)


def _unpack(archive: Path, scratch: Path, limits: UnpackLimits) -> list[Path]:
    names: dict[str, str] = {}
    files: list[Path] = []
    left = limits.total_bytes
    entries = _entries(archive, limits)
    for number in itertools.count():
        found = _reading(lambda: next(entries, None), archive)
        if found is None:
            break
        entry, content = found
        if number >= limits.entries:
            raise _bad_archive_error(f"contains more than {limits.entries} entries", archive)
        if not entry.path:
            continue
        _claim(entry, names, archive)
        place = scratch.joinpath(*entry.path)
        if entry.folder:
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        allowed = left if limits.file_bytes is None else min(left, limits.file_bytes)
        if entry.size_bytes > allowed:
            raise _bad_archive_error(
                f"{'/'.join(entry.path)} is larger than the {allowed} bytes left", archive
            )
        left -= _write(content, place, entry, archive)
        files.append(Path(*entry.path))
    return files


def _reading(read: Callable[[], T], archive: Path) -> T:
    # A malformed archive can cause an OSError on reading, which must not be reported as an error of
    # the target disk.
    try:
        return read()
    except OSError as error:
        raise _bad_archive_error(f"cannot be read: {error.strerror or error}", archive) from error


def _write(content: IO[bytes] | None, place: Path, entry: _ArchiveEntry, archive: Path) -> int:
    written = 0
    descriptor = os.open(
        place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644
    )
    with os.fdopen(descriptor, "wb") as file:
        read = partial(content.read, _CHUNK) if content is not None else bytes
        while chunk := _reading(read, archive):
            written += len(chunk)
            # The size in the header is not trusted.
            if written > entry.size_bytes:
                raise _bad_archive_error(
                    f"{'/'.join(entry.path)} is larger than its declared size", archive
                )
            file.write(chunk)
        if entry.executable:
            os.fchmod(file.fileno(), 0o755)
    if written != entry.size_bytes:
        raise _bad_archive_error(f"{'/'.join(entry.path)} is truncated", archive)
    return written


def _entries(
    archive: Path, limits: UnpackLimits
) -> Iterator[tuple[_ArchiveEntry, IO[bytes] | None]]:
    with open_regular(archive) as file:
        start = file.read(4)
    if start[:2] == b"PK":
        yield from _zip_entries(archive)
    else:
        yield from _tar_entries(archive, limits)


def _tar_entries(
    archive: Path, limits: UnpackLimits
) -> Iterator[tuple[_ArchiveEntry, IO[bytes] | None]]:
    with _decompressed(archive) as plain:
        allowed = limits.total_bytes + _HEADER_BYTES * min(limits.entries, 10_000) + (1 << 20)
        with tarfile.open(fileobj=_Forward(plain, allowed), mode="r:") as tar:  # type: ignore[call-overload]
            while (member := tar.next()) is not None:
                if not (member.isreg() or member.isdir()) or member.issparse():
                    what = _TAR_TYPES.get(member.type, "a special file")
                    raise _bad_archive_error(
                        f"{member.name[:80]!r} is {what}, not a regular file", archive
                    )
                path = _path(member.name, archive)
                executable = bool(member.mode & stat.S_IXUSR)
                entry = _ArchiveEntry(path, member.size, executable, member.isdir())
                yield entry, tar.extractfile(member) if member.isreg() else None


def _decompressed(archive: Path) -> IO[bytes]:
    with archive.open("rb") as file:
        start = file.read(6)
    if start.startswith(b"\x1f\x8b"):
        return cast("IO[bytes]", gzip.open(archive, "rb"))
    if start.startswith(b"BZh"):
        return cast("IO[bytes]", bz2.open(archive, "rb"))
    if start.startswith(b"\xfd7zXZ"):
        return cast("IO[bytes]", lzma.open(archive, "rb"))
    return archive.open("rb")


class _Forward:
    """A forward-only reader for tarfile with limits on the size of a read and on the total.

    tarfile reads an extended header as a whole, whatever size it declares, so that a few compressed
    bytes could fill the memory.
    """

    def __init__(self, stream: IO[bytes], allowed_bytes: int) -> None:
        self._stream = stream
        self._left = allowed_bytes
        self._position = 0
        self._last = b""

    def tell(self) -> int:
        return self._position

    def seek(self, position: int, whence: int = 0) -> int:
        if whence != 0:
            raise tarfile.ReadError("cannot be read: it requires a backward seek")
        back = self._position - position
        if back > 0:
            if back > len(self._last):
                raise tarfile.ReadError("cannot be read: its entries are not in order")
            # Kept for the next read: tarfile reads the byte before the next header.
            self._pending = self._last[-back:] + self._pending
            self._last = self._last[:-back]
            self._position = position
        while self._position < position:
            if not self.read(min(_CHUNK, position - self._position)):
                break
        return self._position

    _pending = b""

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > 4 * _CHUNK:
            raise tarfile.ReadError("cannot be read: a header is too large")
        data, self._pending = self._pending[:size], self._pending[size:]
        if len(data) < size:
            more = self._stream.read(size - len(data))
            self._left -= len(more)
            if self._left < 0:
                raise tarfile.ReadError("cannot be read: it is larger than its limit")
            data += more
        self._position += len(data)
        self._last = (self._last + data)[-1024:]
        return data


def _zip_entries(archive: Path) -> Iterator[tuple[_ArchiveEntry, IO[bytes] | None]]:
    with open_zip(archive) as packed:
        for info in packed.infolist():
            mode = info.external_attr >> 16
            kind = stat.S_IFMT(mode)
            folder = info.is_dir()
            if kind not in (0, stat.S_IFDIR if folder else stat.S_IFREG):
                raise _bad_archive_error(f"{info.filename[:80]!r} is not a regular file", archive)
            # zipfile truncates names at NUL and converts backslashes, so check the original name.
            path = _path(info.orig_filename, archive)
            entry = _ArchiveEntry(path, info.file_size, bool(mode & stat.S_IXUSR), folder)
            if folder:
                yield entry, None
                continue
            with packed.open(info) as content:
                yield entry, content


def _path(name: str, archive: Path) -> tuple[str, ...]:
    """Return the parts of a plain relative path, without a leading `./`."""
    shown = repr(name[:80])
    if not name or len(name) > _MAX_PATH:
        raise _bad_archive_error(f"{shown} is not a file name", archive)
    if name.startswith("/") or "\\" in name or (len(name) > 1 and name[1] == ":"):
        raise _bad_archive_error(f"{shown} is not a relative path", archive)
    if not name.isprintable() or any(unicodedata.category(c) in ("Cf", "Cs", "Co") for c in name):
        raise _bad_archive_error(f"{shown} contains control characters", archive)
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise _bad_archive_error(f"{shown} leads out of the folder", archive)
    if len(parts) > _MAX_DEPTH:
        raise _bad_archive_error(f"{shown} is deeper than {_MAX_DEPTH} folders", archive)
    for part in parts:
        if len(part.encode()) > _MAX_NAME or part != part.strip() or part.endswith("."):
            raise _bad_archive_error(f"{shown} is not a valid file name on every system", archive)
        if part.split(".")[0].lower() in _RESERVED:
            raise _bad_archive_error(f"{shown} is not a valid file name on every system", archive)
    return parts


def _claim(entry: _ArchiveEntry, names: dict[str, str], archive: Path) -> None:
    """Reject names that are the same, or that are the same on some file systems."""
    for depth in range(1, len(entry.path) + 1):
        name = "/".join(entry.path[:depth])
        whole = depth == len(entry.path)
        key = unicodedata.normalize("NFKC", name).casefold()
        kind = "file" if whole and not entry.folder else "folder"
        other = names.get(key)
        if other is None:
            names[key] = f"{kind} {name}"
        elif other != f"folder {name}" or kind == "file":
            raise _bad_archive_error(
                f"{name!r} occurs twice, or collides with {other.partition(' ')[2]!r}", archive
            )


def _bad_archive_error(what: str, archive: Path) -> FleetmarkError:
    return FleetmarkError(ErrorKind.BAD_DOCUMENT, what, archive.name)
