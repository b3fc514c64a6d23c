"""Formats figures as small Markdown tables."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table with the narrowest columns; all but the first are right-aligned."""
    widths = [max(len(row[place]) for row in [heads, *rows]) for place in range(len(heads))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = [
        ("-" * (width - 1) + ":") if place else "-" * width for place, width in enumerate(widths)
    ]
    return "\n".join([line(heads), f"| {' | '.join(rule)} |", *map(line, rows)])


def spread(values: Sequence[float], digits: int) -> str:
    """Return `median (least–most)`."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"
