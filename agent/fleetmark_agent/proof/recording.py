"""Recording of the files that code reads: an audit hook notes their paths (PEP 578)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from fleetmark_agent.proof.scrub import Scrubber, is_private

_FOLDERS = ("sys/", "proc/")
_FILES = frozenset(
    (
        *("etc/os-release", "usr/lib/os-release", "system/build.prop"),
        *("etc/nv_tegra_release", "etc/nvpmodel.conf", "var/lib/nvpmodel/status"),
    )
)
_PRESENCE = (
    *(".dockerenv", "run/.containerenv", "system/build.prop"),
    *("dev/rknpu*", "dev/apex_*", "dev/hailo*", "dev/ethosu*"),
    "sys/bus/platform/drivers/RKNPU/*npu*",
)
"""Files and folders of which detection only looks whether they exist."""
MAX_FILE_BYTES = 256 * 1024
MAX_FILES = 20_000
MAX_BYTES = 32 * 1024 * 1024

_hooked: set[str] = set()
_state = {"installed": False, "on": False}


@contextmanager
def noted_paths() -> Iterator[set[str]]:
    """Note the path of each file that this process opens in the block, in all its threads."""
    if not _state["installed"]:
        # A hook cannot be removed again: it stays, and notes nothing.
        sys.addaudithook(_hook)
        _state["installed"] = True
    _hooked.clear()
    _state["on"] = True
    try:
        yield _hooked
    finally:
        _state["on"] = False


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _state["on"] and isinstance(arguments[0], (str, os.PathLike)):
        _hooked.add(os.fspath(arguments[0]))


def recorded_files(paths: set[str], root: Path, scrubber: Scrubber) -> dict[str, bytes]:
    """Return the files of a device by their paths below its root, without personal details.

    Args:
        paths: what was opened; everything but files of the kernel and known settings is left out.
        root: the folder above the device's files.
        scrubber: removes personal details from contents and paths.
    """
    found: dict[str, bytes] = {}
    total = 0
    for path in sorted(paths):
        name = _below(path, root)
        if name is None or not is_recorded(name):
            continue
        content = _content(Path(path))
        clean = scrubber.text(name)
        # A file whose name is personal is of a control group, or is left out.
        if content is None or (clean != name and not name.startswith("sys/fs/cgroup/")):
            continue
        total += len(content)
        if len(found) >= MAX_FILES or total > MAX_BYTES:
            break
        found[clean] = scrubber.data(content)
    for pattern in _PRESENCE:
        for match in sorted(root.glob(pattern)):
            name = match.relative_to(root).as_posix()
            found.setdefault(f"{name}/.present" if match.is_dir() else name, b"")
    return found


def is_recorded(name: str) -> bool:
    """Return whether a file, by its path below the root, belongs into a proof."""
    if name in _FILES:
        return True
    parts = PurePosixPath(name).parts
    of_process = len(parts) > 1 and parts[0] == "proc" and parts[1].isdigit()
    return name.startswith(_FOLDERS) and not of_process and not is_private(name)


def _below(path: str, root: Path) -> str | None:
    # Links are not followed: `/sys/class` consists of them.
    whole = os.path.abspath(path)  # noqa: PTH100
    with suppress(ValueError):
        return PurePosixPath(whole).relative_to(root).as_posix()
    return None


def _content(path: Path) -> bytes | None:
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES)
    except OSError:
        return None
