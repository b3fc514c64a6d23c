"""Reads the small files in which a kernel tells its facts."""

from __future__ import annotations

from pathlib import Path

_MAX_BYTES = 1024 * 1024


def text(path: Path) -> str | None:
    """The file's text without surrounding space and NULs; None if absent, unreadable or empty."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES)
    except OSError:
        return None
    return data.decode("utf-8", errors="replace").strip("\0 \t\r\n") or None


def whole(path: Path) -> int | None:
    """The file's one whole number; None if it has none."""
    found = text(path)
    try:
        return int(found) if found is not None else None
    except ValueError:
        return None


def printable(value: str | None, limit: int = 200) -> str | None:
    """What may be shown and stored: one line, bounded; None if nothing is left."""
    if value is None:
        return None
    return " ".join("".join(c if c.isprintable() else " " for c in value).split())[:limit] or None
