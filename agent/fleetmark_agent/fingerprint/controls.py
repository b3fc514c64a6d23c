"""Settings that a run may change, and whether the agent is permitted to change them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from fleetmark_agent.fingerprint import sysfs
from fleetmark_core.capabilities import Control


def probe(root: Path = Path("/")) -> tuple[Control, ...]:
    """Return the controls that the device has: governor, affinity and priority."""
    return tuple(_all(root))


def _all(root: Path) -> Iterator[Control]:
    folder = root / "sys/devices/system/cpu/cpu0/cpufreq"
    governor = sysfs.text(folder / "scaling_governor")
    if governor:
        choices = (sysfs.text(folder / "scaling_available_governors") or "").split()
        writable = os.access(folder / "scaling_governor", os.W_OK)
        yield Control("governor", writable, governor, tuple(choices))
    if root != Path("/"):
        return
    if hasattr(os, "sched_getaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        yield Control("affinity", True, ",".join(map(str, cores)))
    if hasattr(os, "getpriority"):
        yield Control("priority", _may_raise(), str(os.getpriority(os.PRIO_PROCESS, 0)))


def _may_raise() -> bool:
    """Return whether this process may raise its priority, by raising it and restoring it."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, before - 1)
    except OSError:
        return False
    os.setpriority(os.PRIO_PROCESS, 0, before)
    return True
