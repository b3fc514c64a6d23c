"""The rule for names of devices and saved fleets, shared by agents, enrollment and operators.

Names are ASCII, so that letters of other alphabets cannot imitate a name. Names that still look
alike (`bench-1` and `bench-l`) must not both exist in a fleet: see `skeleton`.
"""

from __future__ import annotations

import re

RULE = (
    "use at most 63 letters, digits, dots, dashes and underscores, and begin with a letter or digit"
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
ALIKE = (("1", "l"), ("i", "l"), ("0", "o"), ("rn", "m"), ("vv", "w"), ("_", "-"))
"""Replacements that are applied one after another to a lower-case name: the ASCII part of Unicode's
confusables (UTS 39, section 4), and pairs that few fonts distinguish."""


def is_device_name(name: str) -> bool:
    """Return whether `name` is a valid device name."""
    return _NAME.fullmatch(name) is not None


def skeleton(name: str) -> str:
    """Return the skeleton of a name; two names that look alike have the same skeleton."""
    found = name.lower()
    for seen, meant in ALIKE:
        found = found.replace(seen, meant)
    return found
