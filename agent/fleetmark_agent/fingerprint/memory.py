"""Main memory: its size, the limits that apply to the agent, and what is free now."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fleetmark_agent.fingerprint import sysfs
from fleetmark_agent.fingerprint.cgroups import control_groups
from fleetmark_core.capabilities import Memory

_UNLIMITED = 1 << 60
"""Kernels report a limit that is not set as a number near the largest one they can represent."""


@dataclass(frozen=True)
class Limit:
    """A memory limit of this process and its children, and the usage counted against it.

    `used_bytes` excludes memory that the kernel reclaims under pressure: the page cache of files
    that no process has mapped. It is None if each process has the whole limit for itself.
    """

    limit_bytes: int
    used_bytes: int | None = None


def probe(root: Path = Path("/")) -> Memory:
    """Return total memory, swap, and the lowest limit of cgroups and process below the total.

    Processes of the device cannot use more than the limit, so comparisons use it as the memory
    size.
    """
    sizes = _meminfo(root)
    total, swap = sizes.get("MemTotal", 0), sizes.get("SwapTotal", 0)
    if not total and root == Path("/"):
        import psutil

        total, swap = psutil.virtual_memory().total, psutil.swap_memory().total
    found = [limit.limit_bytes for limit in limits(root) if limit.limit_bytes < total]
    return Memory(total_bytes=total, swap_bytes=swap, limit_bytes=min(found, default=None))


def available(root: Path = Path("/")) -> int | None:
    """Return how many bytes a new process can get without swapping; None if unknown.

    This is the lowest of the kernel's own estimate (`MemAvailable`) and the remainder of each
    limit.
    """
    free = [limit.limit_bytes - (limit.used_bytes or 0) for limit in limits(root)]
    estimate = _meminfo(root).get("MemAvailable")
    if estimate is not None:
        free.append(estimate)
    return max(0, min(free)) if free else None


def limits(root: Path = Path("/")) -> list[Limit]:
    """Return every memory limit that applies to this process."""
    groups = control_groups(root, "memory")
    found = [limit for group in groups if (limit := _limit_of(group.folder)) is not None]
    if root == Path("/"):
        found.extend(_process_limits())
    return found


def group_folders(root: Path = Path("/")) -> list[str]:
    """Return the folders of the control groups whose memory limits apply to this process."""
    return [str(group.folder) for group in control_groups(root, "memory")]


def _meminfo(root: Path) -> dict[str, int]:
    lines = (sysfs.text(root / "proc/meminfo") or "").splitlines()
    return {
        name: int(words[0]) * 1024
        for name, _, value in (line.partition(":") for line in lines)
        if (words := value.split()) and words[0].isdecimal()
    }


def _limit_of(folder: Path) -> Limit | None:
    """Return the limit of one cgroup (version 2 or 1); None if it has no limit."""
    # Above memory.high the kernel slows processes down until they have freed memory, which would
    # distort a measurement.
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
    """Return the reclaimable page cache: without mapped files and without shmem."""
    lines = (sysfs.text(folder / "memory.stat") or "").splitlines()
    found = {
        name: int(count)
        for name, _, count in (line.partition(" ") for line in lines)
        if count.isdecimal()
    }
    # Version 2 includes the groups below; version 1 does so under names with the prefix `total_`.
    if "file" in found:
        return max(0, found["file"] - found.get("file_mapped", 0) - found.get("shmem", 0))
    first = "total_" if "total_cache" in found else ""
    cached, mapped, shared = (
        found.get(first + name, 0) for name in ("cache", "mapped_file", "shmem")
    )
    return max(0, cached - mapped - shared)


def _process_limits() -> Iterator[Limit]:
    """Yield the limits of each process (address space, data) if the system enforces them."""
    if sys.platform != "linux":
        return
    import resource

    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(kind)
        if soft not in (resource.RLIM_INFINITY, -1) and soft < _UNLIMITED:
            yield Limit(soft)
