"""Lockfiles of jobs, stored by their digests."""

from __future__ import annotations

import sqlite3

from fleetmark_core.lockfile import Lockfile, parse_lockfile


def add(connection: sqlite3.Connection, locks: dict[str, bytes]) -> None:
    """Store lockfiles by their digests, unless they are stored already."""
    connection.executemany("INSERT OR IGNORE INTO lock VALUES (?, ?)", locks.items())


def content(connection: sqlite3.Connection, lock_sha256: str) -> bytes | None:
    """Return the bytes of a stored lockfile; None if it is not stored."""
    row = connection.execute(
        "SELECT content FROM lock WHERE lock_sha256 = ?", (lock_sha256,)
    ).fetchone()
    return None if row is None else bytes(row[0])


def get(connection: sqlite3.Connection, lock_sha256: str) -> Lockfile:
    """Return a stored lockfile.

    Raises:
        KeyError: no lockfile with this digest is stored.
    """
    data = content(connection, lock_sha256)
    if data is None:
        raise KeyError(lock_sha256)
    return parse_lockfile(data)
