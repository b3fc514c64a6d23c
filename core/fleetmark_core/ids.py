"""Identifiers: UUIDv7 (RFC 9562, section 5.7), which Python's uuid module has only since 3.14."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

SHORT_ID = 8
"""Least number of characters of a short form."""


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


def short_ids(ids: Iterable[str]) -> dict[str, str]:
    """Return the short form of each id: its shortest unique tail, at least `SHORT_ID` characters.

    UUIDv7 of one day have the same beginning, and their ends are random. An id that is the tail of
    another one is its own short form.
    """
    backwards = sorted(identifier[::-1] for identifier in set(ids))
    shared = [0] * (len(backwards) + 1)
    for place in range(1, len(backwards)):
        shared[place] = _common_prefix(backwards[place - 1], backwards[place])
    return {
        text[::-1]: text[: max(SHORT_ID, shared[place] + 1, shared[place + 1] + 1)][::-1]
        for place, text in enumerate(backwards)
    }


def _common_prefix(a: str, b: str) -> int:
    return next(
        (n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )
