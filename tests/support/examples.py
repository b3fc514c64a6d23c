"""How many random inputs a test tries that wants another count than hypothesis' own."""

from __future__ import annotations

from hypothesis import settings

_USUAL = 100


def examples(count: int) -> int:
    """Return `count`, scaled like hypothesis' own count by the profile: fewer with `quick`."""
    return max(1, min(count, count * settings.default.max_examples // _USUAL))
