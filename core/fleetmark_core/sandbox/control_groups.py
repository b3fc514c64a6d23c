"""Control groups (version 2) of jobs, where the agent's own group is delegated to it.

A group applies limits to all processes of a job together, and kills all of them at once. The kernel
enables controllers only for groups that contain no process. So the agent first moves into a
subgroup, `fleetmark-agent`, and jobs get sibling groups. With systemd this needs `Delegate=yes`.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

REMEDY = (
    "set Delegate=yes in the agent's unit (deploy/systemd does), on a system with only cgroups v2"
)
_CONTROLLERS = ("memory", "pids")
_OWN = "fleetmark-agent"
_PATIENCE_S = 5.0


def usable(root: Path = Path("/")) -> tuple[str | None, str]:
    """Return the folder for groups of jobs, or None and the reason. Changes nothing."""
    folder = _own_group(root)
    if folder is None:
        return None, "the system has no cgroups v2"
    if folder.name == _OWN:
        folder = folder.parent
    available = _words(folder / "cgroup.controllers")
    missing = [name for name in _CONTROLLERS if name not in available]
    if missing:
        return None, f"{folder} has no controller {' and '.join(missing)}"
    if not all(os.access(folder / n, os.W_OK) for n in ("cgroup.procs", "cgroup.subtree_control")):
        return None, f"{folder} is not delegated to this user"
    if not os.access(folder, os.W_OK):
        return None, f"{folder} is not delegated to this user"
    return str(folder), ""


def prepare(folder: Path) -> None:
    """Move the group's processes into a subgroup, then enable the controllers for subgroups.

    Raises:
        OSError: the kernel refuses it; then jobs get no groups.
    """
    if set(_CONTROLLERS) <= set(_words(folder / "cgroup.subtree_control")):
        return
    own = folder / _OWN
    own.mkdir(exist_ok=True)
    for pid in _words(folder / "cgroup.procs"):
        with suppress(ProcessLookupError):
            (own / "cgroup.procs").write_text(pid)
    (folder / "cgroup.subtree_control").write_text(" ".join(f"+{c}" for c in _CONTROLLERS))


def make(folder: Path, name: str, memory_bytes: int, processes: int) -> Path:
    """Create a group for one job with its limits; 0 means no limit.

    Raises:
        OSError: the group cannot be created.
    """
    group = folder / name
    group.mkdir(exist_ok=True)
    if memory_bytes:
        (group / "memory.max").write_text(str(memory_bytes))
        with suppress(OSError):
            # Otherwise the job would use the device's swap first. Not every kernel has this file.
            (group / "memory.swap.max").write_text("0")
        with suppress(OSError):
            (group / "memory.oom.group").write_text("1")
    if processes:
        (group / "pids.max").write_text(str(processes))
    return group


def end(group: Path) -> None:
    """Kill all processes in the group and remove it; give up after `_PATIENCE_S`."""
    with suppress(OSError):
        (group / "cgroup.kill").write_text("1")
    until = time.monotonic() + _PATIENCE_S
    while group.exists() and time.monotonic() < until:
        with suppress(OSError):
            group.rmdir()
            return
        time.sleep(0.01)


def _own_group(root: Path) -> Path | None:
    for line in _lines(root / "proc/self/cgroup"):
        number, _, path = line.split(":", 2)
        if number == "0":
            for mount in ("sys/fs/cgroup", "sys/fs/cgroup/unified"):
                folder = root / mount / path.lstrip("/")
                if (folder / "cgroup.procs").exists() and (folder / "cgroup.controllers").exists():
                    return folder
    return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _words(path: Path) -> list[str]:
    return [word for line in _lines(path) for word in line.split()]
