"""Ways to damage a file, as a full disk, a power cut or an operator does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

Damaging = Callable[[Path], object]


def remove(path: Path) -> None:
    """Remove a file or a folder."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def truncate(path: Path) -> None:
    """Leave the file without a byte."""
    _writable(path).write_bytes(b"")


def halve(path: Path) -> None:
    """Leave the file's first half."""
    os.truncate(_writable(path), path.stat().st_size // 2)


def overwrite_with_zeros(path: Path) -> None:
    """Write as many zero bytes as the file has: blocks that never reached the disk."""
    _writable(path).write_bytes(bytes(path.stat().st_size))


def replace_by_folder(path: Path) -> None:
    """Put a folder in the file's place."""
    path.unlink(missing_ok=True)
    path.mkdir()


def replace_by_fifo(path: Path) -> None:
    """Put a FIFO in the file's place: a plain open waits for a writer that never comes."""
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def _writable(path: Path) -> Path:
    path.chmod(0o600)
    return path


DAMAGES: dict[str, Damaging] = {
    "gone": remove,
    "empty": truncate,
    "cut in half": halve,
    "zeros": overwrite_with_zeros,
    "a folder": replace_by_folder,
    "a FIFO": replace_by_fifo,
}
"""All of them, by what is then in the file's place."""
