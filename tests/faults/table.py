"""The fault table: one row a kind of fault."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

_HEAD = ("fault", "reps", "lost", "doubled", "double-run", "recovery p50", "worst", "logged")
_REPORTED_WIDTH = 110


@dataclass
class Row:
    """What all repetitions of one kind came to."""

    name: str
    repetitions: int = 0
    lost: int = 0
    doubled: int = 0
    double_run: int = 0
    recovery_s: list[float] = field(default_factory=list)
    logged: str = ""
    measured: dict[str, list[float]] = field(default_factory=dict)

    def measure(self, name: str, value: float) -> None:
        """Add another figure in seconds; the table shows the worst."""
        self.measured.setdefault(name, []).append(value)


class Table:
    """Rows in the order of their first appearance."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}

    def row(self, name: str) -> Row:
        return self.rows.setdefault(name, Row(name))

    def text(self) -> str:
        """Return the table as Markdown."""
        lines = [_HEAD, tuple("---" for _ in _HEAD)]
        for row in self.rows.values():
            times = row.recovery_s
            logged = " ".join(row.logged.split()).replace("|", "/")
            if row.measured:
                worst = ", ".join(f"{key} {max(v):.1f}" for key, v in row.measured.items())
                logged = f"[{worst}] {logged}"
            lines.append(
                (
                    row.name,
                    str(row.repetitions),
                    str(row.lost),
                    str(row.doubled),
                    str(row.double_run),
                    f"{statistics.median(times):.1f} s" if times else "–",
                    f"{max(times):.1f} s" if times else "–",
                    logged[:_REPORTED_WIDTH] + ("…" if len(logged) > _REPORTED_WIDTH else ""),
                )
            )
        return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


TABLE = Table()
