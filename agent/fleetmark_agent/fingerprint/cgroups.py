"""Control groups of this process: its own group and all groups above it.

Each group may have a limit, and all limits apply. Version 2 has one tree, version 1 has one tree
for each controller; a system may mount both. In a container that sees the host's path, only the
topmost folder exists; that folder is then the container's own group.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fleetmark_agent.fingerprint import sysfs

_MOST_DEPTH = 64
"""Maximum depth of a group's path. Real paths are far shorter; a test may supply anything."""


@dataclass(frozen=True)
class ControlGroup:
    """A control group: its folder, and its name as a path from the top of its tree."""

    folder: Path
    name: str


def control_groups(root: Path, controller: str) -> Iterator[ControlGroup]:
    """Yield the existing groups that limit `controller` for this process, its own group first.

    Args:
        root: the folder below which /proc and /sys are read.
        controller: the controller's name in version 1, such as `cpu` or `memory`.
    """
    seen: set[tuple[int, int]] = set()
    for top, path in _trees(root, controller).items():
        parts = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
        for depth in range(min(len(parts), _MOST_DEPTH), -1, -1):
            folder = top.joinpath(*parts[:depth])
            identity = _identity(folder)
            # /sys/fs/cgroup/cpu is often a link to cpu,cpuacct: each group counts once.
            if identity is not None and identity not in seen:
                seen.add(identity)
                yield ControlGroup(folder, "/" + "/".join(parts[:depth]))


def _trees(root: Path, controller: str) -> dict[Path, str]:
    """Return the mount point of each tree and the path of this process in it."""
    mounts = root / "sys/fs/cgroup"
    trees: dict[Path, str] = {mounts: "/", mounts / controller: "/"}
    for line in (sysfs.text(root / "proc/self/cgroup") or "0::/").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "\0" in line:
            continue
        if not controllers:
            trees |= {mounts: path, mounts / "unified": path}
        elif controller in controllers.split(",") and "/" not in controllers:
            trees |= {mounts / controller: path, mounts / controllers: path}
    return trees


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino
