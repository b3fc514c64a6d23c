"""Find files by their content in a folder that an operator names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fleetmark_controller.artifacts.model_formats.model_check import check_model
from fleetmark_core.digest import file_digests, sha256_file
from fleetmark_core.errors import ErrorKind, FleetmarkError

_MAX_FILES = 1_000_000
_HASHED_BYTES = 1 << 30


def find_files(folder: Path, wanted: Mapping[str, tuple[str, int]]) -> dict[str, Path]:
    """Return the wanted files below `folder`, by SHA-256.

    Only files of a wanted size are read. Links are not followed.

    Args:
        folder: Folder to search.
        wanted: Name and size in bytes of each file, by SHA-256.

    Raises:
        FleetmarkError: NOT_FOUND: the folder has none of them. DIGEST_MISMATCH: a file has a wanted
            name but other content. BAD_DOCUMENT: a model file is not a model. UNKNOWN_WORD: the
            folder has too many files.
        OSError: a file cannot be read.
    """
    names = {name: sha256 for sha256, (name, _) in wanted.items()}
    sizes = {size for _, size in wanted.values()}
    found: dict[str, Path] = {}
    wrong: dict[str, Path] = {}
    for number, path in enumerate(sorted(folder.rglob("*"))):
        if number > _MAX_FILES:
            raise FleetmarkError(
                ErrorKind.UNKNOWN_WORD,
                "the folder holds too many files",
                str(folder),
                "Give a smaller folder",
            )
        if path.is_symlink() or not path.is_file():
            continue
        sha256 = sha256_file(path) if path.stat().st_size in sizes else ""
        if sha256 in wanted:
            check_model(path, wanted[sha256][0])
            found.setdefault(sha256, path)
        elif path.name in names:
            wrong.setdefault(names[path.name], path)
    for expected, path in sorted(wrong.items()):
        if expected not in found:
            name, size = wanted[expected]
            raise FleetmarkError(
                ErrorKind.DIGEST_MISMATCH,
                f"is not the expected {name}: {_found(path, size)}, "
                f"expected {expected} ({size} bytes)",
                str(path),
                "Get the version that the component declares",
            )
    if wanted and not found:
        listed = ", ".join(sorted(names)[:5])
        raise FleetmarkError(
            ErrorKind.NOT_FOUND, f"the folder contains none of {listed}", str(folder)
        )
    return found


def find_all(
    folder: Path, wanted: Mapping[str, tuple[str, int]], by_md5: Mapping[str, str]
) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return the wanted files below `folder` by SHA-256, and those of a wanted MD5 by name.

    Args:
        folder: Folder to search.
        wanted: Name and size in bytes of each file, by SHA-256.
        by_md5: Name of each file of which only an MD5 is known, by this MD5.

    Raises:
        FleetmarkError: See `find_files`; the folder has none of the files.
        OSError: A file cannot be read.
    """
    found = _find_by_md5(folder, by_md5) if by_md5 else {}
    if by_md5 and not found and not wanted:
        listed = ", ".join(f"{name} (md5 {md5})" for md5, name in sorted(by_md5.items())[:5])
        raise FleetmarkError(
            ErrorKind.NOT_FOUND, f"the folder contains none of {listed}", str(folder)
        )
    try:
        return find_files(folder, wanted), found
    except FleetmarkError as error:
        if found and error.kind is ErrorKind.NOT_FOUND:
            return {}, found
        raise


def _find_by_md5(folder: Path, by_md5: Mapping[str, str]) -> dict[str, Path]:
    endings = {Path(name).suffix for name in by_md5.values()}
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*"))[:_MAX_FILES]:
        if path.is_symlink() or not path.is_file():
            continue
        # The size is not known: only files of these names or endings are read.
        if path.suffix not in endings and path.name not in by_md5:
            continue
        name = by_md5.get(file_digests(path)[0])
        if name is not None:
            check_model(path, name)
            found.setdefault(name, path)
    return found


def is_worth_hashing(found_bytes: int, expected_bytes: int) -> bool:
    """Return whether to compute a file's digest; a file that is far too large needs none.

    Args:
        found_bytes: Size of the file.
        expected_bytes: Size that its component gives.
    """
    return found_bytes <= max(expected_bytes, _HASHED_BYTES)


def describe(sha256: str, size_bytes: int) -> str:
    """Return the digest and size of a file as text; `sha256` is empty if not computed."""
    return f"sha256 is {sha256} ({size_bytes} bytes)" if sha256 else f"size is {size_bytes} bytes"


def _found(path: Path, expected_bytes: int) -> str:
    size_bytes = path.stat().st_size
    hashed = is_worth_hashing(size_bytes, expected_bytes)
    return describe(sha256_file(path) if hashed else "", size_bytes)
