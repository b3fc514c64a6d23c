"""A version number that rises when a device or an identity changes.

Caches of the fleet compare it before they reload.
"""

from __future__ import annotations

from sqlite_utils import Database

_STATEMENTS = (
    "CREATE TABLE roster (version INTEGER NOT NULL)",
    "INSERT INTO roster VALUES (0)",
    *(
        f"""CREATE TRIGGER {table}_{act.lower()}_roster AFTER {act} ON {table}
        BEGIN UPDATE roster SET version = version + 1; END"""  # noqa: S608 - names of our own
        for table in ("device", "identity")
        for act in ("INSERT", "UPDATE", "DELETE")
    ),
)


def apply(db: Database) -> None:
    """Create the table and its triggers."""
    for statement in _STATEMENTS:
        db.conn.execute(statement)
