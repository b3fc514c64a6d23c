"""Sandbox levels of jobs, in order of strength, shared by agents and controller."""

from __future__ import annotations

NONE, LIMITS, LANDLOCK, BUBBLEWRAP = LEVELS = ("none", "limits", "landlock", "bubblewrap")
"""From the weakest to the strongest.

none: a job can do what its agent can do. limits: resource limits, and a separate user where the
agent is root. landlock: in addition, the kernel denies access to all files except the job's.
bubblewrap: other files, processes and the network are not visible to the job."""


def rank(level: str) -> int:
    """Return the index of a level. An unknown level (from a newer agent) counts as the weakest."""
    return LEVELS.index(level) if level in LEVELS else 0


def at_least(level: str, wanted: str) -> bool:
    """Return whether `level` is at least as strong as `wanted`; an empty `wanted` means any."""
    return rank(level) >= rank(wanted or NONE)
