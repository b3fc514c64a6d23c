"""The devices on which each job can run. Jobs that have the same share one stored set."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import astuple, fields

from fleetmark_controller.planning.model import Option
from fleetmark_core.ids import uuid7

OPTIONS = """(SELECT job.job_id, option_row.* FROM job JOIN option_row USING (option_set))
    AS job_option"""
"""A row for each job and each of its boards; jobs that have the same share the rows beneath."""
_OPTION = ", ".join(field.name for field in fields(Option))
_OPTION_MARKS = ", ".join("?" * len(fields(Option)))


def get(connection: sqlite3.Connection, job_id: str, device_id: str) -> Option | None:
    """How the job runs on a device; None if it cannot."""
    row = connection.execute(
        f"SELECT {_OPTION} FROM {OPTIONS} WHERE job_id = ? AND device_id = ?",  # noqa: S608
        (job_id, device_id),
    ).fetchone()
    return None if row is None else Option(*row)


def get_all(connection: sqlite3.Connection, job_id: str) -> tuple[Option, ...]:
    """Return every device on which the job can run."""
    rows = connection.execute(
        f"SELECT {_OPTION} FROM {OPTIONS} WHERE job_id = ?",  # noqa: S608
        (job_id,),
    )
    return tuple(Option(*row) for row in rows)


def add_set(connection: sqlite3.Connection, option_set: str, options: Iterable[Option]) -> None:
    """Store a set of options under its id."""
    connection.executemany(
        f"INSERT INTO option_row (option_set, {_OPTION}) VALUES (?, {_OPTION_MARKS})",  # noqa: S608
        ((option_set, *astuple(option)) for option in options),
    )


def add(connection: sqlite3.Connection, job_id: str, option: Option) -> None:
    """Let a job run on one more device."""
    _own_options(connection, job_id, "")
    connection.execute(
        f"""INSERT INTO option_row (option_set, {_OPTION})
        SELECT option_set, {_OPTION_MARKS} FROM job WHERE job_id = ?""",  # noqa: S608
        (*astuple(option), job_id),
    )


def strike_off(connection: sqlite3.Connection, job_id: str, device_id: str) -> bool:
    """Offer a job to this device no more, if another may still take it; whether that is so."""
    others = connection.execute(
        f"SELECT 1 FROM {OPTIONS} WHERE job_id = ? AND device_id <> ?",  # noqa: S608
        (job_id, device_id),
    ).fetchone()
    if others is None:
        return False
    _own_options(connection, job_id, device_id)
    return True


def _own_options(connection: sqlite3.Connection, job_id: str, but: str) -> None:
    """Give a job a set of options of its own, without one device: the others keep theirs."""
    own_set = uuid7()
    connection.execute(
        f"""INSERT INTO option_row (option_set, {_OPTION})
        SELECT ?, {_OPTION} FROM {OPTIONS} WHERE job_id = ? AND device_id <> ?""",  # noqa: S608
        (own_set, job_id, but),
    )
    connection.execute("UPDATE job SET option_set = ? WHERE job_id = ?", (own_set, job_id))


def exist(connection: sqlite3.Connection, job_id: str) -> bool:
    """Whether a device that is still registered can run the job."""
    query = (
        f"SELECT 1 FROM {OPTIONS} WHERE job_id = ? AND device_id NOT IN"  # noqa: S608
        " (SELECT identity_id FROM identity WHERE state = 'removed')"
    )
    return connection.execute(query, (job_id,)).fetchone() is not None
