"""Where a restored home keeps copies of the catalog folders that were outside of it."""

from __future__ import annotations

from pathlib import Path

from fleetmark_core.digest import sha256_hex


def copy_folder(home: Path, location: str) -> Path:
    """Return where the copy of a catalog folder lies, if there is one.

    Args:
        home: the controller's home.
        location: the folder as the operator named it.
    """
    name = sha256_hex(location.encode("utf-8", "surrogateescape"))[:16]
    return home / "catalogs" / "copies" / name


def is_replaced(home: Path, location: str) -> bool:
    """Return whether a catalog folder is missing, and its copy is to be read."""
    return copy_folder(home, location).is_dir() and not Path(location).exists()
