"""Problems of a submission, and their levels."""

from __future__ import annotations

from typing import NamedTuple

MLPERF = "MLPerf"
"""A rule of MLPerf is broken."""
FLEETMARK = "Fleetmark"
"""The tree is not in the format in which Fleetmark writes it."""
NOTICE = "notice"
"""No problem is known, but something was not checked."""


class SubmissionProblem(NamedTuple):
    """A finding: its path, its text, and its level."""

    path: str
    text: str
    level: str = MLPERF

    def __str__(self) -> str:
        """Return it as one line."""
        return f"{self.path}: {self.text}"
