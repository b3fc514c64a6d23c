"""Tables for terminals, printed with rich. Import it where a table is printed: rich takes 40 ms."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD, Box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fleetmark_cli.encoding import encodable, is_unicode
from fleetmark_cli.sanitize import clean_line

_GAP = 3
_ASCII_HEAD = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)
"""SIMPLE_HEAD in ASCII: a line below the header and nothing else."""


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    title: str = "",
    droppable: Sequence[str] = (),
) -> None:
    """Print a table without truncating cells; None is printed as a dash.

    On a terminal that is too narrow, `droppable` columns are omitted in the given order, and a note
    lists them. Piped output has all columns.
    """
    columns = [encodable(clean_line(name), sys.stdout) for name in columns]
    cells = [[encodable(_cell(value), sys.stdout) for value in row] for row in rows]
    widths = {
        name: max([cell_len(name), *(cell_len(row[index]) for row in cells)])
        for index, name in enumerate(columns)
    }
    terminal = Console(highlight=False)
    dropped: list[str] = []
    for name in droppable if terminal.is_terminal else ():
        if sum(widths.values()) + _GAP * len(widths) <= terminal.width:
            break
        del widths[name]
        dropped.append(name)
    # Never narrower than the content: a terminal wraps long lines, but rich would truncate values.
    needed = sum(widths.values()) + _GAP * (len(widths) + 1)
    console = Console(width=max(needed, terminal.width), highlight=False)
    shown_title = Text(clean_line(title), style="table.title") if title else None
    box = SIMPLE_HEAD if is_unicode(sys.stdout) else _ASCII_HEAD
    table = Table(box=box, title=shown_title, title_justify="left", pad_edge=False)
    shown = [index for index, name in enumerate(columns) if name in widths]
    for index in shown:
        numeric = all(isinstance(row[index], (int, float, type(None))) for row in rows)
        justify = "right" if numeric and rows else "left"
        # Text, because rich would interpret markup in a plain string.
        header = Text(columns[index], style="table.header")
        table.add_column(header, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for row in cells:
        table.add_row(*(Text(row[index]) for index in shown))
    console.print(table)
    if dropped:
        console.print(
            Text(
                f"Columns not shown, the terminal is too narrow: {', '.join(dropped)}", style="dim"
            )
        )


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return clean_line(str(value))
