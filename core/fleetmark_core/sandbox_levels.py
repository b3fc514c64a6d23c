"""Levels of the sandbox that jobs run in: named and ordered, shared by agents and controller."""

from __future__ import annotations

NONE, LIMITS, LANDLOCK, BUBBLEWRAP = LEVELS = ("none", "limits", "landlock", "bubblewrap")
"""From the weakest to the strongest.

none: a job can do what its agent can. limits: limits of resources, and a user of its own where the
agent is root. landlock: besides, the kernel refuses all files but the job's. bubblewrap: the job
sees no other files, processes and network at all.
"""


def rank(level: str) -> int:
    """Place among the levels; a word that is none (a newer agent's) counts as the weakest."""
    return LEVELS.index(level) if level in LEVELS else 0


def at_least(level: str, wanted: str) -> bool:
    """Whether `level` is as strong as `wanted`; everything is where nothing is wanted."""
    return rank(level) >= rank(wanted or NONE)
