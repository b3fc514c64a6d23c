"""Identifiers: UUIDv7 (RFC 9562, section 5.7), which Python's uuid module has only since 3.14."""

from __future__ import annotations

import os
import time


def uuid7(unix_ns: int | None = None) -> str:
    """Return a new identifier. Identifiers sort by their time, to the millisecond.

    Args:
        unix_ns: the time that the identifier contains, in nanoseconds since 1970; None means now.
    """
    milliseconds = (time.time_ns() if unix_ns is None else unix_ns) // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & ((1 << 48) - 1)) << 80
    value |= 0x7 << 76
    value |= ((random >> 62) & 0xFFF) << 64
    value |= 0b10 << 62
    value |= random & ((1 << 62) - 1)
    text = f"{value:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
