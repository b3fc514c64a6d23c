"""Disk space that a confined process uses. Standard library only."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

_MOST_ENTRIES = 100_000
"""Limit of files and folders: each uses space that its size does not show."""


def scratch_bytes(folders: Sequence[str], limit: int) -> int:
    """Return the disk space that the folders use; stop counting above `limit`.

    Return `limit` if there are more than `_MOST_ENTRIES` files and folders.
    """
    total = entries = 0
    waiting = list(folders)
    while waiting and total <= limit:
        with suppress(OSError), os.scandir(waiting.pop()) as found:
            for entry in found:
                entries += 1
                with suppress(OSError):
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                if entries > _MOST_ENTRIES:
                    return limit
    return total
