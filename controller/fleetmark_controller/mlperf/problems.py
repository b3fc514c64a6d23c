"""What is wrong with a submission."""

from __future__ import annotations

from typing import NamedTuple

MLPERF = "MLPerf"
"""A rule of MLPerf is broken."""
FLEETMARK = "Fleetmark"
"""Fleetmark did not write the tree so: its own form is not kept."""
NOTICE = "notice"
"""Nothing is known to be wrong, but something was not checked."""


class SubmissionProblem(NamedTuple):
    """A finding: where, what, and by which level of the check."""

    path: str
    text: str
    level: str = MLPERF

    def __str__(self) -> str:
        """Return it as one line."""
        return f"{self.path}: {self.text}"
