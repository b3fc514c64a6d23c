"""What a device, or a saved fleet, may be called. One rule for agents, enrollment and operators.

Names are ASCII, so that none can be mistaken for another by letters of other alphabets. Of names
that still look alike (`board-1` and `board-l`) a fleet has one: see `look`.
"""

from __future__ import annotations

import re

RULE = "up to 63 letters, digits, dots, dashes and underscores, beginning with a letter or digit"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
ALIKE = (("1", "l"), ("i", "l"), ("0", "o"), ("rn", "m"), ("vv", "w"), ("_", "-"))
"""Replaced one after another in a lower-case name: the ASCII part of Unicode's confusables
(UTS 39, section 4), and what few fonts tell apart."""


def is_device_name(name: str) -> bool:
    """Return whether a device can be called so."""
    return _NAME.fullmatch(name) is not None


def look(name: str) -> str:
    """Return what two names that look alike have in common."""
    found = name.lower()
    for seen, meant in ALIKE:
        found = found.replace(seen, meant)
    return found
