"""Summary of the wait reasons of many jobs. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

BUSY = "the device is busy"
"""Group of all reasons by which a job only waits for its turn."""

_TURN = re.compile(
    r"^interleaved: "
    r"| (runs job|was just assigned job|has not reported idle|is held for|cools down for) ?"
)
_BEHIND = re.compile(r"; \d+ queued jobs? for it runs? first$")
_SECONDS = re.compile(r" (in|for) \d+ s\b")
_ANY = re.compile(r"^none of (\d+) devices is free for it: (.*)$")
_BUSY_KINDS = frozenset(
    ("busy", "not idle yet", "cooling down", "held for interleaved jobs", "taken")
)


def group_of(reason: str) -> str:
    """Return the reason without parts that differ between jobs and times: ids, counts, seconds."""
    text = _BEHIND.sub("", reason)
    if _TURN.search(text):
        return BUSY
    any_device = _ANY.match(text)
    if any_device is None:
        return _SECONDS.sub("", text)
    kinds: Counter[str] = Counter()
    for part in any_device[2].split(", "):
        count, _, kind = part.partition(" ")
        kinds["busy" if kind in _BUSY_KINDS else kind] += int(count) if count.isdigit() else 1
    if set(kinds) == {"busy"}:
        return BUSY
    shown = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return f"none of {any_device[1]} devices is free: {shown}"


def summarize(reasons: Iterable[str]) -> dict[str, int]:
    """Return how many jobs wait for each group of reasons, the most frequent first.

    Jobs that only wait for their turn come last.
    """
    counts = Counter(group_of(reason) for reason in reasons if reason)
    order = sorted(counts.items(), key=lambda pair: (pair[0] == BUSY, -pair[1], pair[0]))
    return dict(order)


def in_words(groups: dict[str, int]) -> str:
    """Return the groups as text: `4 jobs wait: bench-02 is offline; 1 job waits: …`."""
    return "; ".join(
        f"{count} {'job waits' if count == 1 else 'jobs wait'}: {group}"
        for group, count in groups.items()
    )
