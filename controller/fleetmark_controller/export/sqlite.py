"""The SQLite format: a new file with one table, named after the view."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

from fleetmark_controller.export.columns import Column
from fleetmark_controller.export.rows import RowSource, Value

_TYPES = {"integer": "INTEGER", "real": "REAL", "boolean": "INTEGER"}


def write_sqlite(rows: RowSource, view: str, path: Path) -> int:
    """Write the file; return the number of rows. Booleans are 0 and 1."""
    return write_groups([rows.clean(view)], view, rows.described(view), path)


def write_groups(
    groups: Iterable[Iterable[Sequence[Value]]], view: str, columns: Sequence[Column], path: Path
) -> int:
    """Write groups of rows, whose values fit their columns; return the number of rows."""
    table = _quote(view)
    described = ", ".join(f"{_quote(c.name)} {_TYPES.get(c.type, 'TEXT')}" for c in columns)
    places = ", ".join("?" for _ in columns)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        # The file is new and renamed only when it is complete, so SQLite need not synchronize it.
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        connection.execute(f"CREATE TABLE {table} ({described})")
        for group in groups:
            connection.executemany(f"INSERT INTO {table} VALUES ({places})", group)  # noqa: S608
        connection.execute("COMMIT")
        return connection.total_changes


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""').replace("\0", "") + '"'
