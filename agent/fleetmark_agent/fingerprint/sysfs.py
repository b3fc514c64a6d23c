"""Reading of the small files in which a kernel publishes facts."""

from __future__ import annotations

from pathlib import Path

_MAX_BYTES = 1024 * 1024


def text(path: Path) -> str | None:
    """Return the file's text without surrounding space and NULs; None if unreadable or empty."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES)
    except OSError:
        return None
    return data.decode("utf-8", errors="replace").strip("\0 \t\r\n") or None


def whole(path: Path) -> int | None:
    """Return the integer that the file holds; None if it holds anything else."""
    found = text(path)
    try:
        return int(found) if found is not None else None
    except ValueError:
        return None


def printable(value: str | None, limit: int = 200) -> str | None:
    """Return `value` as one printable line of at most `limit` characters; None if it is empty."""
    if value is None:
        return None
    return " ".join("".join(c if c.isprintable() else " " for c in value).split())[:limit] or None
