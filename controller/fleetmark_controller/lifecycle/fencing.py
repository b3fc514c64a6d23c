"""Chooses the generation of a controller's start: higher than any that was ever used.

Epoch = generation << 32 | n. A store may be restored from a backup, so its own memory of the last
generation is not enough. Three witnesses are asked, and the highest wins: the store; a file
beside it, which backups leave out; and the clock, for a home that was restored whole. What all
three missed, a hello tells: agents report the highest epoch that they have seen.
"""

from __future__ import annotations

# In hours, so that an epoch stays below 2^53 and survives readers that know only doubles.
_CLOCK_BEGINS_S = 1_577_836_800
_HOUR_S = 3600
MOST = (1 << 21) - 1


def choose(stored: int, witnessed: int, now_unix_s: float) -> int:
    """The next generation. `stored` and `witnessed` are the last ones that either place saw."""
    by_clock = int(now_unix_s - _CLOCK_BEGINS_S) // _HOUR_S
    highest = max(stored + 1, witnessed + 1, by_clock)
    return highest if highest <= MOST else max(stored, witnessed) + 1
