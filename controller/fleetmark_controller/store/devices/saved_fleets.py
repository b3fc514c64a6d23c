"""Saved fleets: selectors stored under a name."""

from __future__ import annotations

import sqlite3

from fleetmark_core.clock import iso


def list_all(connection: sqlite3.Connection) -> dict[str, str]:
    """Return the selector of each saved fleet, by name."""
    return {
        row[0]: row[1]
        for row in connection.execute("SELECT name, selector FROM saved_fleet ORDER BY name")
    }


def save(connection: sqlite3.Connection, now_ns: int, name: str, selector: str) -> None:
    """Store a selector under a name, replacing an earlier one of that name."""
    connection.execute(
        "INSERT INTO saved_fleet VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE"
        " SET selector = excluded.selector, saved_at = excluded.saved_at",
        (name, selector, iso(now_ns)),
    )


def forget(connection: sqlite3.Connection, name: str) -> bool:
    """Delete a saved fleet and return whether it existed."""
    return connection.execute("DELETE FROM saved_fleet WHERE name = ?", (name,)).rowcount > 0
