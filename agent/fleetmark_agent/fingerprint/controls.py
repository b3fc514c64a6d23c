"""Settings that a run may change, and whether the agent is permitted to change them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from fleetmark_agent.fingerprint import jetson, sysfs
from fleetmark_core.capabilities import Control

NVPMODEL = "usr/sbin/nvpmodel"
JETSON_CLOCKS = "usr/bin/jetson_clocks"
NVIDIA_SMI = "usr/bin/nvidia-smi"
"""Programs that change settings, below the root folder."""


def probe(root: Path = Path("/")) -> tuple[Control, ...]:
    """Return the controls that the device has: governor, power mode, clocks, affinity, priority."""
    return tuple(_all(root))


def _all(root: Path) -> Iterator[Control]:
    folder = root / "sys/devices/system/cpu/cpu0/cpufreq"
    governor = sysfs.text(folder / "scaling_governor")
    if governor:
        choices = (sysfs.text(folder / "scaling_available_governors") or "").split()
        writable = os.access(folder / "scaling_governor", os.W_OK)
        yield Control("governor", writable, governor, tuple(choices))
    if (root / NVPMODEL).is_file():
        modes, mode = jetson.power_modes(root), jetson.power_mode(root)
        current = None if mode is None else modes.get(mode, str(mode))
        yield Control("nvpmodel", is_root(), current, tuple(modes.values()))
    if (root / JETSON_CLOCKS).is_file():
        yield Control("jetson_clocks", is_root())
    if (root / NVIDIA_SMI).is_file() and not jetson.is_jetson(root):
        yield Control("gpu_clocks", is_root())
    if root != Path("/"):
        return
    if hasattr(os, "sched_getaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        yield Control("affinity", True, ",".join(map(str, cores)))
    if hasattr(os, "getpriority"):
        yield Control("priority", _may_raise(), str(os.getpriority(os.PRIO_PROCESS, 0)))


def is_root() -> bool:
    """Return whether this process may run programs that only root may run."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _may_raise() -> bool:
    """Return whether this process may raise its priority, by raising it and restoring it."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, before - 1)
    except OSError:
        return False
    os.setpriority(os.PRIO_PROCESS, 0, before)
    return True
