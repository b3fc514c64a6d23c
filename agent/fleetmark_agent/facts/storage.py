"""The file system that holds the agent's home."""

from __future__ import annotations

import shutil
from pathlib import Path

from fleetmark_catalog.core.capabilities import Storage


def probe(home: Path) -> Storage:
    """Its size, and the room that is left for us. The home need not exist yet."""
    while not home.exists() and home != home.parent:
        home = home.parent
    usage = shutil.disk_usage(home)
    return Storage(total_bytes=usage.total, free_bytes=usage.free)
