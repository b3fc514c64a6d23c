"""Identifiers: UUIDv7 (RFC 9562, section 5.7), so that ids sort by the time they were made."""

from __future__ import annotations

import os
import time
import uuid


def uuid7(unix_ns: int | None = None) -> str:
    """A new id: 48 bits of milliseconds, 74 random bits, version and variant."""
    milliseconds = (time.time_ns() if unix_ns is None else unix_ns) // 1_000_000
    value = (milliseconds & ((1 << 48) - 1)) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))
