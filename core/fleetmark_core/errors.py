"""What can be wrong with components, locks, orders and blobs."""

from __future__ import annotations

from enum import Enum


class Fault(Enum):
    """Kinds of catalog errors; the controller and the agent translate them for the wire."""

    INVALID_COMPONENT = "invalid component"
    NOT_FOUND = "not found"
    UNKNOWN_WORD = "unknown word"
    UNRESOLVABLE = "unresolvable"
    DIGEST_MISMATCH = "digest mismatch"
    UNAVAILABLE = "unavailable"
    BAD_DOCUMENT = "bad document"
    UNSIGNED = "unsigned"
    FOREIGN_KEY = "foreign key"
    BAD_SIGNATURE = "bad signature"
    ROLLED_BACK = "older than what was seen"
    EXPIRED = "expired"
    MIXED = "mixed"
    NOT_RELEASED = "not released"
    NOT_ALLOWED = "not allowed"


class CatalogError(Exception):
    """What was wrong, where, and what to do next."""

    def __init__(self, fault: Fault, what: str, where: str = "", next_step: str = "") -> None:
        """Texts are short and whole: no trailing full stop."""
        super().__init__(what)
        self.fault = fault
        self.what = what
        self.where = where
        self.next_step = next_step

    def __str__(self) -> str:
        """One line."""
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.what}{'. ' + self.next_step if self.next_step else ''}"
