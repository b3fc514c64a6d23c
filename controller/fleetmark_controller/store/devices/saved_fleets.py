"""Saved fleets: selectors under a name."""

from __future__ import annotations

import sqlite3

from fleetmark_core.clock import iso


def every(connection: sqlite3.Connection) -> dict[str, str]:
    """Selector of each saved fleet, by name."""
    return {
        row[0]: row[1]
        for row in connection.execute("SELECT name, selector FROM saved_fleet ORDER BY name")
    }


def save(connection: sqlite3.Connection, now_ns: int, name: str, selector: str) -> None:
    """Keep a selector under a name; an older one of that name is replaced."""
    connection.execute(
        "INSERT INTO saved_fleet VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE"
        " SET selector = excluded.selector, saved_at = excluded.saved_at",
        (name, selector, iso(now_ns)),
    )


def forget(connection: sqlite3.Connection, name: str) -> bool:
    """Forget a saved fleet; False if there is none."""
    return connection.execute("DELETE FROM saved_fleet WHERE name = ?", (name,)).rowcount > 0
