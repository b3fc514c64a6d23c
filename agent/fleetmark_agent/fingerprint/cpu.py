"""The processor, and how much of it we may use."""

from __future__ import annotations

import os
from pathlib import Path

from fleetmark_agent.fingerprint import sysfs
from fleetmark_core.capabilities import Cpu

_ARM_IMPLEMENTERS = {0x41: "ARM", 0x43: "Cavium", 0x4E: "NVIDIA", 0x51: "Qualcomm", 0x61: "Apple"}
_ARM_PARTS = {
    0xC07: "Cortex-A7",
    0xC0F: "Cortex-A15",
    0xD03: "Cortex-A53",
    0xD04: "Cortex-A35",
    0xD05: "Cortex-A55",
    0xD07: "Cortex-A57",
    0xD08: "Cortex-A72",
    0xD09: "Cortex-A73",
    0xD0A: "Cortex-A75",
    0xD0B: "Cortex-A76",
    0xD0C: "Neoverse-N1",
    0xD40: "Neoverse-V1",
    0xD41: "Cortex-A78",
    0xD42: "Cortex-A78AE",
    0xD44: "Cortex-X1",
    0xD49: "Neoverse-N2",
    0xD4F: "Neoverse-V2",
}


def probe(root: Path = Path("/")) -> Cpu:
    """Model, cores, frequency, features."""
    blocks = _blocks(sysfs.text(root / "proc/cpuinfo") or "")
    first = blocks[0] if blocks else {}
    logical = sum("processor" in block for block in blocks) or os.cpu_count() or 1
    features = first.get("flags") or first.get("Features") or ""
    model, vendor = _name(blocks)
    return Cpu(
        logical_cores=logical,
        usable_cores=_usable(root, logical),
        model=sysfs.printable(model),
        vendor=sysfs.printable(vendor),
        physical_cores=_physical(blocks),
        max_frequency_hz=_max_frequency(root),
        features=tuple(sorted(set(features.split()))),
    )


def _blocks(content: str) -> list[dict[str, str]]:
    """The paragraphs of /proc/cpuinfo: one for each core, and on ARM one for the board."""
    blocks: list[dict[str, str]] = []
    for paragraph in content.split("\n\n"):
        pairs = (line.partition(":") for line in paragraph.splitlines() if ":" in line)
        block = {key.strip(): value.strip() for key, _, value in pairs}
        if block:
            blocks.append(block)
    return blocks


def _name(blocks: list[dict[str, str]]) -> tuple[str | None, str | None]:
    first = blocks[0] if blocks else {}
    if "model name" in first and "vendor_id" in first:
        return first["model name"], first["vendor_id"]
    parts: list[str] = []
    vendor = None
    for block in blocks:
        try:
            implementer, part = int(block["CPU implementer"], 0), int(block["CPU part"], 0)
        except (KeyError, ValueError):
            continue
        vendor = vendor or _ARM_IMPLEMENTERS.get(implementer, f"implementer {implementer:#x}")
        name = _ARM_PARTS.get(part) if implementer == 0x41 else None
        name = name or f"part {part:#x}"
        if name not in parts:
            parts.append(name)
    return " + ".join(parts) or first.get("model name") or None, vendor


def _physical(blocks: list[dict[str, str]]) -> int | None:
    cores = {
        (b["physical id"], b["core id"]) for b in blocks if "physical id" in b and "core id" in b
    }
    return len(cores) or None


def _usable(root: Path, logical: int) -> int:
    usable = logical
    if root == Path("/") and hasattr(os, "sched_getaffinity"):
        usable = len(os.sched_getaffinity(0))
    quota = _quota(root)
    return max(1, min(usable, quota)) if quota is not None else usable


def _quota(root: Path) -> int | None:
    """Cores that the cgroup's quota amounts to, rounded up."""
    words = (sysfs.text(root / "sys/fs/cgroup/cpu.max") or "").split()
    if len(words) == 2 and words[0].isdecimal() and words[1].isdecimal() and int(words[1]):
        return -(-int(words[0]) // int(words[1]))
    quota = sysfs.whole(root / "sys/fs/cgroup/cpu/cpu.cfs_quota_us")
    period = sysfs.whole(root / "sys/fs/cgroup/cpu/cpu.cfs_period_us")
    return -(-quota // period) if quota and period and quota > 0 else None


def _max_frequency(root: Path) -> int | None:
    paths = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/cpuinfo_max_freq")
    found = [value for path in paths if (value := sysfs.whole(path))]
    return max(found) * 1000 if found else None
