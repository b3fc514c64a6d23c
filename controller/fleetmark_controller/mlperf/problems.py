"""What is wrong with a submission."""

from __future__ import annotations

from typing import NamedTuple


class Problem(NamedTuple):
    """A finding: where, and what."""

    path: str
    text: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.path}: {self.text}"
