"""Processes below a process, and their end. Standard library only: a supervisor loads it.

Linux: read from /proc. Elsewhere nothing is found, and process groups are all there is.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

_PR_SET_CHILD_SUBREAPER = 36
_ROUNDS = 20
"""So often what is left is killed: a child that is being made may be missed once."""


def parents() -> dict[int, int]:
    """Return every process that there is, with its parent; ended ones that nobody reaped too."""
    found: dict[int, int] = {}
    for name in _listed("/proc"):
        if name.isdigit() and (words := _stat(name)):
            found[int(name)] = int(words[1])
    return found


def children_of(pid: int) -> list[int]:
    """Return the children of a process. The kernel's own list is quicker, where it has one."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:  # noqa: PTH123
            return [int(word) for word in file.read().split()]
    except OSError:
        return [child for child, parent in parents().items() if parent == pid]


def descendants(pid: int) -> list[int]:
    """Return the processes below a process, whichever thread of it started them."""
    below: dict[int, list[int]] = {}
    for child, parent in parents().items():
        below.setdefault(parent, []).append(child)
    found = list(below.get(pid, ()))
    for one in found:
        found.extend(below.get(one, ()))
    return found


def kill_group(group: int) -> None:
    """Kill a process group; processes that left it are the matter of `kill_descendants`."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def become_subreaper() -> None:
    """Let orphans below this process become its children, so that none escapes (Linux)."""
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_descendants() -> bool:
    """Kill and reap every process below this one, also those in sessions of their own (Linux).

    Returns:
        Whether there were any.
    """
    for number in range(_ROUNDS):
        found = [pid for pid in descendants(os.getpid()) if not _is_zombie(pid)]
        if not found:
            return number > 0
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.005)
    return True


def _is_zombie(pid: int) -> bool:
    words = _stat(str(pid))
    return not words or words[0] == b"Z"


def _stat(pid: str) -> list[bytes]:
    """Return the fields of /proc/PID/stat from the state on; none if the process is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            # The name in brackets may hold anything; state and parent follow it.
            words = file.read().rpartition(b")")[2].split()
    except OSError:
        return []
    return words if len(words) > 1 else []


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208
    except OSError:
        return []
