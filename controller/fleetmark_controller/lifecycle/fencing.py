"""Choose the generation of a controller start: higher than any generation used before.

Epoch = generation << 32 | n. A store may be restored from a backup, so the last generation in the
store is not sufficient. The choice takes the highest of three sources: the store; a file beside
the store, which backups leave out; and the clock, which covers a home that was restored as a
whole. If all three are too low, a hello message reveals it: agents report the highest epoch that
they have seen.
"""

from __future__ import annotations

# The clock counts hours since 2020-01-01, so that an epoch stays below 2^53 and survives readers
# that only know doubles.
_CLOCK_BEGINS_S = 1_577_836_800
_HOUR_S = 3600
MOST = (1 << 21) - 1


def choose(stored: int, witnessed: int, now_unix_s: float) -> int:
    """Return the next generation.

    A clock that would lead beyond `MOST` is ignored.

    Args:
        stored: the last generation in the store.
        witnessed: the last generation in the file beside the store.
        now_unix_s: the wall clock.
    """
    by_clock = int(now_unix_s - _CLOCK_BEGINS_S) // _HOUR_S
    highest = max(stored + 1, witnessed + 1, by_clock)
    return highest if highest <= MOST else max(stored, witnessed) + 1
