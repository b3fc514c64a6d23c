"""Finds and kills the processes below a process. Standard library only: a supervisor loads it.

On Linux they are read from /proc. On other systems none are found, and only process groups work.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

_PR_SET_CHILD_SUBREAPER = 36
_SESSION = 3
"""Place of the session among the fields of /proc/PID/stat from the state on."""
_ROUNDS = 20
"""Number of kill rounds: one round may miss a child that is being created."""


def parents() -> dict[int, int]:
    """Return all processes with their parents, including zombies."""
    found: dict[int, int] = {}
    for name in _listed("/proc"):
        if name.isdigit() and (words := _stat(name)):
            found[int(name)] = int(words[1])
    return found


def children_of(pid: int) -> list[int]:
    """Return the children of a process, from the kernel's own list if it has one (faster)."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:  # noqa: PTH123
            return [int(word) for word in file.read().split()]
    except OSError:
        return [child for child, parent in parents().items() if parent == pid]


def descendants(pid: int) -> list[int]:
    """Return all processes below a process, whichever of its threads started them."""
    below: dict[int, list[int]] = {}
    for child, parent in parents().items():
        below.setdefault(parent, []).append(child)
    found = list(below.get(pid, ()))
    for one in found:
        found.extend(below.get(one, ()))
    return found


def kill_group(group: int) -> None:
    """Kill a process group. `kill_descendants` handles processes that left the group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def kill_session(session: int) -> None:
    """Kill all processes of the session that a process with this number began (Linux).

    On other systems only its process group is killed.
    """
    kill_group(session)
    for name in _listed("/proc"):
        words = _stat(name) if name.isdigit() else []
        if len(words) > _SESSION and int(words[_SESSION]) == session and words[0] != b"Z":
            with contextlib.suppress(OSError):
                os.kill(int(name), signal.SIGKILL)


def become_subreaper() -> None:
    """Make orphans below this process its children, so that none escapes (Linux)."""
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_descendants() -> bool:
    """Kill and reap every process below this one, including those in other sessions (Linux).

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
    """Return the fields of /proc/PID/stat from the state on, or an empty list if there are none.

    The list is empty if the process is gone.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            # The process name in parentheses may contain any character; state and parent follow it.
            words = file.read().rpartition(b")")[2].split()
    except OSError:
        return []
    return words if len(words) > 1 else []


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208
    except OSError:
        return []
