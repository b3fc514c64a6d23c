"""The file system that holds the agent's home."""

from __future__ import annotations

import shutil
from pathlib import Path

from fleetmark_agent.state.files import tree_bytes
from fleetmark_core.capabilities import Storage


def probe(home: Path) -> Storage:
    """Return its size, its free space, and the size of the agent's cache. `home` need not exist."""
    there = home
    while not there.exists() and there != there.parent:
        there = there.parent
    usage = shutil.disk_usage(there)
    return Storage(
        total_bytes=usage.total,
        free_bytes=usage.free,
        cache_bytes=tree_bytes(home / "cache"),
    )
