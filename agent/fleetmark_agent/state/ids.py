"""Identifiers: UUIDv7 as RFC 9562 lays it out (Python has it from 3.14 on only)."""

from __future__ import annotations

import os
import time


def uuid7() -> str:
    """A new identifier; later ones sort after earlier ones, to the millisecond."""
    milliseconds = (time.time_ns() // 1_000_000) & ((1 << 48) - 1)
    random = int.from_bytes(os.urandom(10), "big")
    value = milliseconds << 80
    value |= 0x7 << 76
    value |= ((random >> 62) & 0xFFF) << 64
    value |= 0b10 << 62
    value |= random & ((1 << 62) - 1)
    text = f"{value:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
