"""Indexes by what names look like: each hello asks whether another device's name looks the same."""

from __future__ import annotations

from sqlite_utils import Database

# As core.device_names.ALIKE had them when this migration was made.
_ALIKE = (("1", "l"), ("i", "l"), ("0", "o"), ("rn", "m"), ("vv", "w"), ("_", "-"))


def apply(db: Database) -> None:
    """Add an index to devices, and one to those that have applied."""
    look = "lower(name)"
    for seen, meant in _ALIKE:
        look = f"replace({look}, '{seen}', '{meant}')"
    db.conn.execute(f"CREATE INDEX device_look ON device ({look})")
    db.conn.execute(f"CREATE INDEX identity_look ON identity ({look})")
