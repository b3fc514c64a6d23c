"""The hash chain of the audit log: each row's hash covers the row and the previous hash. Pure.

The head is stored apart from the rows. It holds the number and hash of the last row, so that
truncation is detected. An attacker who can write both can forge both: `controller audit verify`
prints the head, which can be recorded elsewhere and compared later.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fleetmark_core.digest import canonical_json, sha256_hex

FIRST = "0" * 64
"""The previous hash of the first row."""


@dataclass(frozen=True)
class Row:
    """One row of the log. `detail` is JSON text."""

    seq: int
    at: str
    actor: str
    action: str
    subject: str
    outcome: str
    detail: str
    hash: str = ""

    def sealed(self, before: str) -> str:
        """Return the hash of this row when it follows the row with hash `before`."""
        values = (
            self.seq,
            self.at,
            self.actor,
            self.action,
            self.subject,
            self.outcome,
            self.detail,
        )
        return sha256_hex(canonical_json([before, *values]))


def find_break(rows: Iterable[Row], head_seq: int, head_hash: str) -> str:
    """Return the first fault of the chain and its position, or an empty string."""
    before, seq = FIRST, 0
    for row in rows:
        if row.seq != seq + 1:
            return f"row {seq + 1} is missing" if row.seq > seq else f"row {row.seq} is there twice"
        if row.sealed(before) != row.hash:
            return f"row {row.seq} was changed"
        before, seq = row.hash, row.seq
    if seq < head_seq:
        return f"row {seq + 1} is missing"
    if (seq, before) != (head_seq, head_hash):
        return f"the head does not fit row {seq}"
    return ""
