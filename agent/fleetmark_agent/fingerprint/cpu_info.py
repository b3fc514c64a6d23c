"""Parser of /proc/cpuinfo: one paragraph for each core, and on Arm one for the device."""

from __future__ import annotations

from collections.abc import Mapping


def blocks(content: str) -> list[dict[str, str]]:
    """Return the fields of each paragraph."""
    found: list[dict[str, str]] = []
    for paragraph in content.split("\n\n"):
        pairs = (line.partition(":") for line in paragraph.splitlines() if ":" in line)
        block = {key.strip(): value.strip() for key, _, value in pairs}
        if block:
            found.append(block)
    return found


def midr_of(block: Mapping[str, str]) -> tuple[int, int] | None:
    """Return the implementer and the part of an Arm core; None for any other paragraph."""
    try:
        return int(block["CPU implementer"], 0), int(block["CPU part"], 0)
    except (KeyError, ValueError):
        return None
