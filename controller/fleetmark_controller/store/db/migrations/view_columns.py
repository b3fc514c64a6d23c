"""Appending of columns of table run to the public views `runs` and `results`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlite_utils.db import Database

_SOURCES = {"runs": ("FROM run JOIN job", "{}"), "results": ("FROM key\n", "p.{}")}
"""By view: the text that follows its last column, and the form of a column of the run."""


def append_columns(db: Database, columns: Mapping[str, Sequence[str]]) -> None:
    """Recreate views with further columns at their end.

    Args:
        db: the store.
        columns: columns of table run by view; view `results` has those of the performance run.

    Raises:
        RuntimeError: the text of a view is not what the earlier migrations wrote.
    """
    for view, names in columns.items():
        after, form = _SOURCES[view]
        sql = str(db[view].schema)
        head, found, tail = sql.rpartition(after)
        if not found:
            raise RuntimeError(f"view {view} has no {after.strip()!r}")
        added = ", ".join(form.format(column) for column in names)
        db.conn.execute(f"DROP VIEW {view}")
        db.conn.execute(f"{head.rstrip()}, {added}\n        {found}{tail}")
