"""Finds files by their content in a folder that a person gives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fleetmark_controller.artifacts.model_check import check_model
from fleetmark_core.digest import sha256_file
from fleetmark_core.errors import ErrorKind, FleetmarkError

_MAX_FILES = 1_000_000


def find_files(folder: Path, wanted: Mapping[str, tuple[str, int]]) -> dict[str, Path]:
    """By sha256, the files below `folder` that are wanted (sha256 → name and size in bytes).

    Only files of a wanted size are read. Links are not followed.

    Raises:
        FleetmarkError: NOT_FOUND: none of them is there; DIGEST_MISMATCH: a file has the name, and
            other content; BAD_DOCUMENT: a model is none.
        OSError: a file cannot be read.
    """
    names = {name: sha256 for sha256, (name, _) in wanted.items()}
    sizes = {size for _, size in wanted.values()}
    found: dict[str, Path] = {}
    wrong: dict[str, Path] = {}
    for number, path in enumerate(sorted(folder.rglob("*"))):
        if number > _MAX_FILES:
            raise FleetmarkError(
                ErrorKind.UNKNOWN_WORD, "holds too many files", str(folder), "Name a smaller folder"
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
                f"is not the {name} that is wanted: {_found(path, size)}, "
                f"expected {expected} ({size} bytes)",
                str(path),
                "Get the very version that the component names",
            )
    if wanted and not found:
        listed = ", ".join(sorted(names)[:5])
        raise FleetmarkError(ErrorKind.NOT_FOUND, f"holds none of {listed}", str(folder))
    return found


def is_worth_hashing(found_bytes: int, expected_bytes: int) -> bool:
    """Return whether to read a file for its digest: of one that is far too large its size says it.

    Args:
        found_bytes: the file's size.
        expected_bytes: the size that its component gives.
    """
    return found_bytes <= max(expected_bytes, _HASHED_BYTES)


def describe(sha256: str, size_bytes: int) -> str:
    """Return what a file is, for an error; an empty `sha256` was not worth reading."""
    return f"sha256 is {sha256} ({size_bytes} bytes)" if sha256 else f"it has {size_bytes} bytes"


def _found(path: Path, expected_bytes: int) -> str:
    size_bytes = path.stat().st_size
    hashed = is_worth_hashing(size_bytes, expected_bytes)
    return describe(sha256_file(path) if hashed else "", size_bytes)


_HASHED_BYTES = 1 << 30
