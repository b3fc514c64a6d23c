"""Installed releases, and lockfiles with entries that no release contains."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fleetmark_core.clock import NS_PER_S, iso


@dataclass(frozen=True)
class Reference:
    """Reference to a release, as orders contain it."""

    serial: int
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class SigningStatus:
    """The release under which orders can be issued, or the reason why there is none."""

    reference: Reference | None = None
    fault: str = ""


UNSIGNED = SigningStatus()
"""The signing status of a controller without keys: its orders name no release."""


def add(
    connection: sqlite3.Connection,
    now_ns: int,
    *,
    serial: int,
    sha256: str,
    size_bytes: int,
    key_sha256: str,
    made_unix_s: int,
    expires_unix_s: int,
) -> bool:
    """Record an installed release; return whether it is new."""
    values = (
        *(serial, sha256, size_bytes, key_sha256),
        *(iso(made_unix_s * NS_PER_S), iso(expires_unix_s * NS_PER_S), iso(now_ns)),
    )
    done = connection.execute("INSERT OR IGNORE INTO release VALUES (?, ?, ?, ?, ?, ?, ?)", values)
    return done.rowcount == 1


def newest(connection: sqlite3.Connection) -> Reference | None:
    """Return the release with the highest serial; None if there is none."""
    row = connection.execute(
        "SELECT serial, release_sha256, size_bytes FROM release ORDER BY serial DESC LIMIT 1"
    ).fetchone()
    return None if row is None else Reference(*row)


def is_release(connection: sqlite3.Connection, sha256: str) -> bool:
    """Return whether a blob is a release, which every device may read."""
    row = connection.execute("SELECT 1 FROM release WHERE release_sha256 = ?", (sha256,)).fetchone()
    return row is not None


def waiting_locks(connection: sqlite3.Connection) -> dict[str, bytes]:
    """Return the lockfiles of queued jobs, by digest."""
    rows = connection.execute(
        """SELECT DISTINCT lock_sha256, content FROM job JOIN job_option USING (option_set_id)
        JOIN lock USING (lock_sha256) WHERE state = 'QUEUED'"""
    )
    return {row[0]: bytes(row[1]) for row in rows}


def locks_of(connection: sqlite3.Connection, job_ids: Iterable[str]) -> dict[str, bytes]:
    """Return the lockfiles of these jobs in any state, by digest."""
    found: dict[str, bytes] = {}
    for job_id in job_ids:
        rows = connection.execute(
            """SELECT lock_sha256, content FROM job JOIN job_option USING (option_set_id)
            JOIN lock USING (lock_sha256) WHERE job_id = ?""",
            (job_id,),
        )
        found.update({row[0]: bytes(row[1]) for row in rows})
    return found


def set_unsigned(connection: sqlite3.Connection, reasons: Mapping[str, str]) -> None:
    """Record for each of these lockfiles (by digest) what no release contains.

    An empty reason means that the release contains everything.
    """
    for lock, reason in reasons.items():
        if reason:
            connection.execute(
                """INSERT INTO unsigned_lock VALUES (?, ?)
                ON CONFLICT (lock_sha256) DO UPDATE SET reason = excluded.reason""",
                (lock, reason),
            )
        else:
            connection.execute("DELETE FROM unsigned_lock WHERE lock_sha256 = ?", (lock,))


def unsigned(connection: sqlite3.Connection) -> dict[str, str]:
    """Return the lockfiles with entries that no release contains, each with the reason."""
    rows = connection.execute("SELECT lock_sha256, reason FROM unsigned_lock")
    return {row[0]: row[1] for row in rows}
