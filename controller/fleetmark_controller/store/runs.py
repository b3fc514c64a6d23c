"""Runs: the stored results of finished attempts."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import Any, NamedTuple


class RunFile(NamedTuple):
    """A raw file of a run; its bytes are the blob `sha256`."""

    name: str
    role: str
    sha256: str
    size_bytes: int


def add(connection: sqlite3.Connection, values: dict[str, Any], files: Iterable[RunFile]) -> None:
    """Store a run: `values` by column of table run; lists and tables become JSON."""
    columns = {
        name: json.dumps(value, sort_keys=True, ensure_ascii=False)
        if isinstance(value, (dict, list, tuple))
        else value
        for name, value in values.items()
    }
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    connection.execute(f"INSERT INTO run ({names}) VALUES ({marks})", tuple(columns.values()))  # noqa: S608
    connection.executemany(
        "INSERT INTO run_file VALUES (?, ?, ?, ?, ?)", ((values["run_id"], *file) for file in files)
    )
    if values["official"]:
        connection.execute(
            "UPDATE job SET run_id = ? WHERE job_id = ?", (values["run_id"], values["job_id"])
        )


def find(connection: sqlite3.Connection, prefix: str) -> list[str]:
    """Ids of runs that begin with `prefix`; two at most."""
    pattern = prefix.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    rows = connection.execute(
        "SELECT run_id FROM run WHERE run_id LIKE ? ESCAPE '\\' ORDER BY run_id LIMIT 2", (pattern,)
    )
    return [row[0] for row in rows]


def files(connection: sqlite3.Connection, run_id: str) -> list[RunFile]:
    """The raw files of a run, by name."""
    rows = connection.execute(
        "SELECT name, role, sha256, size_bytes FROM run_file WHERE run_id = ? ORDER BY name",
        (run_id,),
    )
    return [RunFile(*row) for row in rows]


def provenance(connection: sqlite3.Connection, run_id: str) -> str:
    """The provenance of a run, as JSON."""
    row = connection.execute("SELECT provenance FROM run WHERE run_id = ?", (run_id,)).fetchone()
    return str(row[0])
