"""Tables for terminals, printed with rich. Import it only to print a table: rich takes 40 ms."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD, Box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fleetmark_cli.encoding import encodable, is_unicode
from fleetmark_cli.output import sentence
from fleetmark_cli.sanitize import clean_line

GAP = 3
"""Columns of the terminal between two columns of a table."""
_SHORT_WORD = 16
"""Maximum length of words that are never broken."""
_ASCII_HEAD = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)
"""SIMPLE_HEAD in ASCII: a line below the header and nothing else."""


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    title: str = "",
    droppable: Sequence[str] = (),
    empty: str = "",
) -> None:
    """Print a table; None is printed as a dash. Without rows, print `empty` on stderr instead.

    On a terminal that is too narrow, `droppable` columns are omitted in the given order, and a note
    lists them; then long cells are wrapped, between words if that is possible. Nothing is
    truncated. Piped output has all columns, one line per row.
    """
    if empty and not rows:
        sentence(empty, err=True)
        return
    columns = [encodable(clean_line(name), sys.stdout) for name in columns]
    cells = [[encodable(cell_text(value), sys.stdout) for value in row] for row in rows]
    droppable = [encodable(clean_line(name), sys.stdout) for name in droppable]
    terminal = Console(highlight=False)
    dropped: list[str] = []
    shown = list(range(len(columns)))
    natural = [_width(columns, cells, index) for index in shown]
    for name in droppable if terminal.is_terminal else ():
        if table_width(natural[index] for index in shown) <= terminal.width:
            break
        if name in columns:
            shown.remove(columns.index(name))
            dropped.append(name)
    widths = [natural[index] for index in shown]
    if terminal.is_terminal:
        least = [_longest_word(columns, cells, index) for index in shown]
        room = terminal.width - GAP * len(shown)
        widths = fit_widths(widths, least, room)
        # Long words (paths) are broken only if whole words do not fit.
        widths = fit_widths(widths, [min(width, _SHORT_WORD) for width in least], room)
    # Never narrower than the content: a terminal wraps long lines, but rich would truncate values.
    # With a height, because rich assumes 80 columns for every dumb terminal without it.
    needed = max(table_width(widths) + GAP, terminal.width)
    console = Console(width=needed, height=terminal.height, highlight=False)
    shown_title = Text(clean_line(title), style="table.title") if title else None
    box = SIMPLE_HEAD if is_unicode(sys.stdout) else _ASCII_HEAD
    table = Table(box=box, title=shown_title, title_justify="left", pad_edge=False)
    for index, width in zip(shown, widths, strict=True):
        values = [row[index] for row in rows if row[index] is not None]
        numeric = values and all(isinstance(value, (int, float)) for value in values)
        justify = "right" if numeric else "left"
        # Text, because rich would interpret markup in a plain string.
        header = Text(columns[index], style="table.header")
        table.add_column(header, justify=justify, width=width, overflow="fold")  # type: ignore[arg-type]
    for row in cells:
        table.add_row(*(Text(row[index]) for index in shown))
    console.print(table)
    if dropped:
        console.print(
            Text(
                f"Columns not shown, the terminal is too narrow: {', '.join(dropped)}", style="dim"
            )
        )


def print_note(text: str) -> None:
    """Print a sentence below a table."""
    sentence(clean_line(text))


def table_width(widths: Iterable[int]) -> int:
    """Return the width of a table with columns of these widths."""
    return sum(width + GAP for width in widths)


def fit_widths(natural: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Return widths of columns that together need at most `room`, if that is possible.

    The widest column shrinks first, but not below its `least` width, the width of its longest word.
    """
    widths = list(natural)
    while sum(widths) > room:
        yielding = [index for index, width in enumerate(widths) if width > least[index]]
        if not yielding:
            break
        widths[max(yielding, key=lambda index: widths[index])] -= 1
    return widths


def terminal_width() -> int | None:
    """Return the number of columns of the terminal; None if the output is piped."""
    terminal = Console(highlight=False)
    return terminal.width if terminal.is_terminal else None


def cell_text(value: object) -> str:
    """Return the text of a value in a cell."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return clean_line(str(value))


def _width(columns: Sequence[str], cells: Sequence[Sequence[str]], index: int) -> int:
    return max([cell_len(columns[index]), *(cell_len(row[index]) for row in cells)])


def _longest_word(columns: Sequence[str], cells: Sequence[Sequence[str]], index: int) -> int:
    texts = [columns[index], *(row[index] for row in cells)]
    return max((cell_len(word) for text in texts for word in text.split()), default=0)
