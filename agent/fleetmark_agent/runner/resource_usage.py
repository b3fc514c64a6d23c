"""Resource usage of a job's processes, as seen by its supervisor. Standard library only."""

from __future__ import annotations

import os
import resource
from contextlib import suppress

_MOST_ENTRIES = 100_000
"""Limit of files and folders in a job's scratch: each uses space that its size does not show."""


class Usage:
    """Total usage of reaped processes. The figures of a process include what it reaped itself."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        self.user_s = self.system_s = 0.0

    def add(self, usage: resource.struct_rusage) -> None:
        """Add the usage of a reaped process."""
        self.peak_bytes = max(self.peak_bytes, usage.ru_maxrss * 1024)
        self.user_s += usage.ru_utime
        self.system_s += usage.ru_stime


def used_by(pids: list[int]) -> tuple[int, int]:
    """Return the resident bytes and threads of processes. Shared memory counts for each of them."""
    memory = tasks = 0
    for pid in pids:
        path = f"/proc/{pid}/stat"
        with suppress(OSError, ValueError, IndexError), open(path, "rb") as file:  # noqa: PTH123
            words = file.read().rpartition(b")")[2].split()
            tasks += int(words[17])
            memory += int(words[21]) * resource.getpagesize()
    return memory, tasks


def proportional_bytes(pids: list[int], otherwise: int) -> int:
    """Return the proportional set size of processes: accurate for shared memory, but slow to read.

    If it cannot be read, return `otherwise`.
    """
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup", "rb") as file:  # noqa: PTH123
                lines = file.read().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        except OSError:
            return otherwise
        total += sum(int(line.split()[1]) for line in lines if line.startswith(b"Pss:")) * 1024
    return total


def tree_bytes(folders: list[str], limit: int) -> int:
    """Return the disk space that the folders use; stop counting above `limit`.

    Return `limit` if there are more than `_MOST_ENTRIES` files and folders.
    """
    total = entries = 0
    waiting = list(folders)
    while waiting and total <= limit:
        with suppress(OSError), os.scandir(waiting.pop()) as found:
            for entry in found:
                entries += 1
                with suppress(OSError):
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                if entries > _MOST_ENTRIES:
                    return limit
    return total
