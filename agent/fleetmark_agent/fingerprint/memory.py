"""Main memory: what the board has, what limits let us use of it, and what is free now."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fleetmark_agent.fingerprint import sysfs
from fleetmark_agent.fingerprint.cgroups import control_groups
from fleetmark_core.capabilities import Memory

_UNLIMITED = 1 << 60
"""Kernels write limits that nobody set as a number near the largest that they have."""


@dataclass(frozen=True)
class Limit:
    """A limit that holds for this process and its children, and what is used of it.

    `used_bytes` leaves out what the kernel gives back when it is short: contents of files that no
    process has mapped. It is None where each process has the whole limit for itself.
    """

    limit_bytes: int
    used_bytes: int | None = None


def probe(root: Path = Path("/")) -> Memory:
    """Total, swap, and the lowest limit of cgroups and of the process where it is below the total.

    A process of the board may use no more than the limit, so it is the memory that counts.
    """
    sizes = _meminfo(root)
    total, swap = sizes.get("MemTotal", 0), sizes.get("SwapTotal", 0)
    if not total and root == Path("/"):
        import psutil

        total, swap = psutil.virtual_memory().total, psutil.swap_memory().total
    found = [limit.limit_bytes for limit in limits(root) if limit.limit_bytes < total]
    return Memory(total_bytes=total, swap_bytes=swap, limit_bytes=min(found, default=None))


def available(root: Path = Path("/")) -> int | None:
    """Bytes that a new process can get now without swapping; None where the board does not say.

    The least of the kernel's own estimate (`MemAvailable`) and of what each limit leaves.
    """
    free = [limit.limit_bytes - (limit.used_bytes or 0) for limit in limits(root)]
    estimate = _meminfo(root).get("MemAvailable")
    if estimate is not None:
        free.append(estimate)
    return max(0, min(free)) if free else None


def limits(root: Path = Path("/")) -> list[Limit]:
    """Every limit of memory that holds for this process."""
    groups = control_groups(root, "memory")
    found = [limit for group in groups if (limit := _limit_of(group.folder)) is not None]
    if root == Path("/"):
        found.extend(_process_limits())
    return found


def _meminfo(root: Path) -> dict[str, int]:
    lines = (sysfs.text(root / "proc/meminfo") or "").splitlines()
    return {
        name: int(words[0]) * 1024
        for name, _, value in (line.partition(":") for line in lines)
        if (words := value.split()) and words[0].isdecimal()
    }


def _limit_of(folder: Path) -> Limit | None:
    """The limit of one cgroup (version 2 or 1); None if it has none."""
    # Above memory.high processes are slowed down until they have given back: nothing to measure in.
    names = ("memory.max", "memory.high", "memory.limit_in_bytes")
    values = [value for name in names if (value := sysfs.whole(folder / name)) is not None]
    limit = min(values, default=_UNLIMITED)
    if limit >= _UNLIMITED:
        return None
    used = sysfs.whole(folder / "memory.current")
    if used is None:
        used = sysfs.whole(folder / "memory.usage_in_bytes")
    return Limit(limit, max(0, (used or 0) - _given_back(folder)))


def _given_back(folder: Path) -> int:
    """Cached contents of files, less what is mapped and what has no file (shmem)."""
    lines = (sysfs.text(folder / "memory.stat") or "").splitlines()
    found = {
        name: int(count)
        for name, _, count in (line.partition(" ") for line in lines)
        if count.isdecimal()
    }
    # Version 2 counts groups below; version 1 does so under names of its own.
    if "file" in found:
        return max(0, found["file"] - found.get("file_mapped", 0) - found.get("shmem", 0))
    first = "total_" if "total_cache" in found else ""
    cached, mapped, shared = (
        found.get(first + name, 0) for name in ("cache", "mapped_file", "shmem")
    )
    return max(0, cached - mapped - shared)


def _process_limits() -> Iterator[Limit]:
    """Limits of each single process: address space and data, where the system heeds them."""
    if sys.platform != "linux":
        return
    import resource

    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(kind)
        if soft not in (resource.RLIM_INFINITY, -1) and soft < _UNLIMITED:
            yield Limit(soft)
