"""Resource usage of a job's processes, as seen by its supervisor. Standard library only."""

from __future__ import annotations

import resource
from contextlib import suppress

_UNLIMITED = 1 << 60
"""Control groups of version 1 report a limit that is not set as a number near 2 ** 63."""


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


def oom_kills(groups: list[str], root: str = "/") -> dict[str, int]:
    """Return how many processes the kernel has killed for memory: in each group, and overall.

    The key of the overall count is empty. A count that cannot be read is missing.

    Args:
        groups: folders of control groups, version 1 or 2.
        root: the folder below which /proc is read.
    """
    counts = {
        group: count
        for group in groups
        for name in ("memory.events", "memory.oom_control")
        if (count := _counter(f"{group}/{name}")) is not None
    }
    overall = _counter(f"{root.rstrip('/')}/proc/vmstat")
    return counts if overall is None else {**counts, "": overall}


def memory_limit(group: str) -> int | None:
    """Return the memory limit of a control group; None if it has none."""
    for name in ("memory.max", "memory.limit_in_bytes"):
        with suppress(OSError, ValueError), open(f"{group}/{name}", "rb") as file:  # noqa: PTH123
            limit = int(file.read())
            return limit if limit < _UNLIMITED else None
    return None


def _counter(path: str) -> int | None:
    with suppress(OSError, ValueError, IndexError), open(path, "rb") as file:  # noqa: PTH123
        for line in file.read().splitlines():
            if line.startswith(b"oom_kill "):
                return int(line.split()[1])
    return None
