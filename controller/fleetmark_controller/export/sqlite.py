"""The SQLite format: a new file with one table, named after the view."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from fleetmark_controller.export.rows import RowSource, Value

_TYPES = {"integer": "INTEGER", "real": "REAL", "boolean": "INTEGER"}


def write_sqlite(rows: RowSource, view: str, path: Path) -> int:
    """Write the file; return the number of rows. Booleans are 0 and 1."""
    described = rows.described(view)
    table = _quote(view)
    columns = ", ".join(f"{_quote(c.name)} {_TYPES.get(c.type, 'TEXT')}" for c in described)
    places = ", ".join("?" for _ in described)
    count = 0

    def counted() -> Iterator[tuple[Value, ...]]:
        nonlocal count
        for row in rows.clean(view):
            count += 1
            yield row

    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        # The file is new and renamed only when it is complete, so SQLite need not synchronize it.
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        connection.execute(f"CREATE TABLE {table} ({columns})")
        connection.executemany(f"INSERT INTO {table} VALUES ({places})", counted())  # noqa: S608
        connection.execute("COMMIT")
    return count


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""').replace("\0", "") + '"'
