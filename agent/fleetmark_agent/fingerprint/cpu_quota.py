"""CPU quotas of this process's control groups, and how often the quotas throttled it.

A quota is CPU time per period: `cpu.max` in version 2, `cpu.cfs_quota_us` and `cpu.cfs_period_us`
in version 1. The kernel counts the periods in which a group used up its quota and was stopped until
the next period (`nr_throttled` in `cpu.stat`). See the kernel's documentation, "CFS Bandwidth
Control" and "Control Group v2".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from fleetmark_agent.fingerprint import sysfs
from fleetmark_agent.fingerprint.cgroups import control_groups

_MOST_DIGITS = 18


@dataclass(frozen=True)
class CpuQuota:
    """A CPU quota in cores, and the group that sets it."""

    cores: float
    group: str

    @property
    def whole_cores(self) -> int:
        """Return how many cores can be busy at once within the quota: rounded up, at least one."""
        return max(1, math.ceil(self.cores))


@dataclass(frozen=True)
class ThrottleCount:
    """Enforcement periods of the groups with a quota, and those in which a group was throttled."""

    periods: int = 0
    throttled: int = 0

    def since(self, before: ThrottleCount) -> ThrottleCount:
        """Return the difference to `before`; 0 if a counter decreased, as in a recreated group."""
        return ThrottleCount(
            max(0, self.periods - before.periods), max(0, self.throttled - before.throttled)
        )


def tightest_quota(root: Path = Path("/")) -> CpuQuota | None:
    """Return the lowest quota of the process's group and the groups above it; None without any."""
    found = [
        CpuQuota(cores, group.name)
        for group in control_groups(root, "cpu")
        if (cores := _quota(group.folder)) is not None
    ]
    return min(found, key=lambda quota: quota.cores, default=None)


def throttle_count(root: Path = Path("/")) -> ThrottleCount | None:
    """Return the sum over the process's group and those above it; None without control groups."""
    folders = [group.folder for group in control_groups(root, "cpu")]
    if not folders:
        return None
    counts = [_counters(folder) for folder in folders]
    return ThrottleCount(
        sum(count.get("nr_periods", 0) for count in counts),
        sum(count.get("nr_throttled", 0) for count in counts),
    )


def _quota(folder: Path) -> float | None:
    """Return the quota of one group in cores; None if it has no quota."""
    words = (sysfs.text(folder / "cpu.max") or "").split()
    if len(words) == 2:
        quota, period = (_number(word) for word in words)
    else:
        quota = _number(sysfs.text(folder / "cpu.cfs_quota_us"))
        period = _number(sysfs.text(folder / "cpu.cfs_period_us"))
    return quota / period if quota and period else None


def _counters(folder: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    for line in (sysfs.text(folder / "cpu.stat") or "").splitlines():
        name, _, text = line.partition(" ")
        value = _number(text.strip())
        if value is not None:
            found[name] = value
    return found


def _number(text: str | None) -> int | None:
    """Parse a count as the kernel writes it; None for `max`, for -1, and for anything else."""
    if text is None or not text.isascii() or not text.isdecimal() or len(text) > _MOST_DIGITS:
        return None
    return int(text)
