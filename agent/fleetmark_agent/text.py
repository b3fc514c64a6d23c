"""Figures as people read them."""

from __future__ import annotations


def size(count_bytes: float) -> str:
    """Bytes in the unit that suits them: `53.1 MB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count_bytes < 1000:
            return f"{count_bytes:.0f} bytes" if unit == "bytes" else f"{count_bytes:.1f} {unit}"
        count_bytes /= 1000
    return f"{count_bytes:.1f} TB"
