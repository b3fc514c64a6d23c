"""Main memory and its limit."""

from __future__ import annotations

from pathlib import Path

from fleetmark_agent.facts import read
from fleetmark_catalog.core.capabilities import Memory


def probe(root: Path = Path("/")) -> Memory:
    """Total, swap, and the cgroup's limit where it is below the total."""
    lines = (read.text(root / "proc/meminfo") or "").splitlines()
    sizes = {
        name: int(words[0]) * 1024
        for name, _, value in (line.partition(":") for line in lines)
        if (words := value.split()) and words[0].isdecimal()
    }
    total, swap = sizes.get("MemTotal", 0), sizes.get("SwapTotal", 0)
    if not total and root == Path("/"):
        import psutil

        total, swap = psutil.virtual_memory().total, psutil.swap_memory().total
    limits = [
        limit
        for name in ("memory.max", "memory/memory.limit_in_bytes")
        if (limit := read.whole(root / "sys/fs/cgroup" / name)) is not None and limit < total
    ]
    return Memory(total_bytes=total, swap_bytes=swap, limit_bytes=min(limits, default=None))
