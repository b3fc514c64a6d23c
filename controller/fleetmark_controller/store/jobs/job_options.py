"""The devices on which each job can run. Jobs with equal options share one stored set."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import astuple, fields

from fleetmark_controller.planning.model import JobOption
from fleetmark_core.ids import uuid7

OPTIONS = """(SELECT job.job_id, job_option.* FROM job JOIN job_option USING (option_set_id))
    AS job_option"""
"""SQL for one row per job and device; jobs with the same option set share the underlying rows."""
_OPTION = ", ".join(field.name for field in fields(JobOption))
_OPTION_MARKS = ", ".join("?" * len(fields(JobOption)))


def get(connection: sqlite3.Connection, job_id: str, device_id: str) -> JobOption | None:
    """Return how the job runs on a device; None if it cannot run there."""
    row = connection.execute(
        f"SELECT {_OPTION} FROM {OPTIONS} WHERE job_id = ? AND device_id = ?",  # noqa: S608
        (job_id, device_id),
    ).fetchone()
    return None if row is None else JobOption(*row)


def get_all(connection: sqlite3.Connection, job_id: str) -> tuple[JobOption, ...]:
    """Return one option for each device on which the job can run."""
    rows = connection.execute(
        f"SELECT {_OPTION} FROM {OPTIONS} WHERE job_id = ?",  # noqa: S608
        (job_id,),
    )
    return tuple(JobOption(*row) for row in rows)


def add_set(
    connection: sqlite3.Connection, option_set_id: str, options: Iterable[JobOption]
) -> None:
    """Store a set of options under its id."""
    connection.executemany(
        f"INSERT INTO job_option (option_set_id, {_OPTION}) VALUES (?, {_OPTION_MARKS})",  # noqa: S608
        ((option_set_id, *astuple(option)) for option in options),
    )


def add(connection: sqlite3.Connection, job_id: str, option: JobOption) -> None:
    """Let a job run on one more device."""
    _own_options(connection, job_id, "")
    connection.execute(
        f"""INSERT INTO job_option (option_set_id, {_OPTION})
        SELECT option_set_id, {_OPTION_MARKS} FROM job WHERE job_id = ?""",  # noqa: S608
        (*astuple(option), job_id),
    )


def exclude_device(connection: sqlite3.Connection, job_id: str, device_id: str) -> bool:
    """Remove a device from a job's options, unless it is the only one.

    Returns:
        Whether the device was removed.
    """
    others = connection.execute(
        f"SELECT 1 FROM {OPTIONS} WHERE job_id = ? AND device_id <> ?",  # noqa: S608
        (job_id, device_id),
    ).fetchone()
    if others is None:
        return False
    _own_options(connection, job_id, device_id)
    return True


def _own_options(connection: sqlite3.Connection, job_id: str, but: str) -> None:
    """Give a job its own copy of its options, without device `but`.

    Other jobs that share the set keep it unchanged.
    """
    own_set = uuid7()
    connection.execute(
        f"""INSERT INTO job_option (option_set_id, {_OPTION})
        SELECT ?, {_OPTION} FROM {OPTIONS} WHERE job_id = ? AND device_id <> ?""",  # noqa: S608
        (own_set, job_id, but),
    )
    connection.execute("UPDATE job SET option_set_id = ? WHERE job_id = ?", (own_set, job_id))


def can_run_anywhere(connection: sqlite3.Connection, job_id: str) -> bool:
    """Return whether the job can run on a device that has not been removed."""
    query = (
        f"SELECT 1 FROM {OPTIONS} WHERE job_id = ? AND device_id NOT IN"  # noqa: S608
        " (SELECT identity_id FROM identity WHERE state = 'removed')"
    )
    return connection.execute(query, (job_id,)).fetchone() is not None
