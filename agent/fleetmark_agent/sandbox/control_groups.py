"""Control groups (version 2) of jobs, where the agent's own one is delegated to it.

A group makes limits hold for all processes of a job together, and ends them all at once. The
kernel hands controllers only to groups that hold no process themselves, so the agent first moves
into a group of its own, `fleetmark-agent`, beside which jobs get theirs. With systemd that is
`Delegate=yes`.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

REMEDY = (
    "give the agent's unit Delegate=yes (deploy/systemd does), on a system with cgroups v2 only"
)
_CONTROLLERS = ("memory", "pids")
_OWN = "fleetmark-agent"
_PATIENCE_S = 5.0


def usable(root: Path = Path("/")) -> tuple[str | None, str]:
    """The folder in which groups of jobs can be made, or None and why not. Changes nothing."""
    folder = _own_group(root)
    if folder is None:
        return None, "there are no cgroups v2"
    if folder.name == _OWN:
        folder = folder.parent
    available = _words(folder / "cgroup.controllers")
    missing = [name for name in _CONTROLLERS if name not in available]
    if missing:
        return None, f"{folder} offers no controller {' and '.join(missing)}"
    if not all(os.access(folder / n, os.W_OK) for n in ("cgroup.procs", "cgroup.subtree_control")):
        return None, f"{folder} is not delegated to this user"
    if not os.access(folder, os.W_OK):
        return None, f"{folder} is not delegated to this user"
    return str(folder), ""


def prepare(folder: Path) -> None:
    """Move what is in the group into one below, then hand the controllers down.

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
    """A group for one job, with its limits; 0: none.

    Raises:
        OSError: it cannot be made.
    """
    group = folder / name
    group.mkdir(exist_ok=True)
    if memory_bytes:
        (group / "memory.max").write_text(str(memory_bytes))
        with suppress(OSError):
            # Else the job would push the board into its swap first. Not every kernel counts that.
            (group / "memory.swap.max").write_text("0")
        with suppress(OSError):
            (group / "memory.oom.group").write_text("1")
    if processes:
        (group / "pids.max").write_text(str(processes))
    return group


def end(group: Path) -> None:
    """Kill everything in the group at once and remove it; what is left is not ours to see."""
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
