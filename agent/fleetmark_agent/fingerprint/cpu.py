"""The processor, and the part of it that the agent may use."""

from __future__ import annotations

import os
from pathlib import Path

from fleetmark_agent.fingerprint import sysfs
from fleetmark_agent.fingerprint.arm_cores import core_name, implementer_name
from fleetmark_agent.fingerprint.cpu_info import blocks as cpu_blocks
from fleetmark_agent.fingerprint.cpu_info import midr_of
from fleetmark_agent.fingerprint.cpu_quota import CpuQuota, tightest_quota
from fleetmark_core.capabilities import Cpu


def probe(root: Path = Path("/")) -> Cpu:
    """Return the processor's model, cores, frequency and features."""
    blocks = cpu_blocks(sysfs.text(root / "proc/cpuinfo") or "")
    quota = tightest_quota(root)
    first = blocks[0] if blocks else {}
    logical = sum("processor" in block for block in blocks) or os.cpu_count() or 1
    features = first.get("flags") or first.get("Features") or ""
    model, vendor = _name(blocks)
    return Cpu(
        logical_cores=logical,
        usable_cores=_usable(root, logical, quota),
        model=sysfs.printable(model),
        vendor=sysfs.printable(vendor),
        physical_cores=_physical(blocks),
        max_frequency_hz=_max_frequency(root),
        features=tuple(sorted(set(features.split()))),
        quota_cores=None if quota is None else round(quota.cores, 3),
    )


def _name(blocks: list[dict[str, str]]) -> tuple[str | None, str | None]:
    first = blocks[0] if blocks else {}
    if "model name" in first and "vendor_id" in first:
        return first["model name"], first["vendor_id"]
    parts: list[str] = []
    vendor = None
    for block in blocks:
        midr = midr_of(block)
        if midr is None:
            continue
        vendor = vendor or implementer_name(midr[0])
        name = core_name(*midr)
        if name not in parts:
            parts.append(name)
    return " + ".join(parts) or first.get("model name") or None, vendor


def _physical(blocks: list[dict[str, str]]) -> int | None:
    cores = {
        (b["physical id"], b["core id"]) for b in blocks if "physical id" in b and "core id" in b
    }
    return len(cores) or None


def _usable(root: Path, logical: int, quota: CpuQuota | None) -> int:
    usable = logical
    if root == Path("/") and hasattr(os, "sched_getaffinity"):
        usable = len(os.sched_getaffinity(0))
    return usable if quota is None else max(1, min(usable, quota.whole_cores))


def _max_frequency(root: Path) -> int | None:
    paths = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/cpuinfo_max_freq")
    found = [value for path in paths if (value := sysfs.whole(path))]
    return max(found) * 1000 if found else None
