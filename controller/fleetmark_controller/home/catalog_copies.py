"""Location of the copies that a restored home keeps of catalog folders outside of the home."""

from __future__ import annotations

from pathlib import Path

from fleetmark_core.digest import sha256_hex


def copy_folder(home: Path, location: str) -> Path:
    """Return the path of the copy of a catalog folder; the copy need not exist.

    Args:
        home: the controller's home.
        location: the folder as the operator named it. Spellings that `Path` considers equal, for
            example with and without a trailing slash, have the same copy.
    """
    name = sha256_hex(str(Path(location)).encode("utf-8", "surrogateescape"))[:16]
    return home / "catalogs" / "copies" / name


def is_replaced(home: Path, location: str) -> bool:
    """Return whether a catalog folder is missing and its copy in the home is used."""
    return copy_folder(home, location).is_dir() and not Path(location).exists()
