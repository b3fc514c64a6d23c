"""What a hello looks up: whether another device's name looks the same, and how often this one came.

Indexes by what names look like, and of the events that devices cause as often as they like.
"""

from __future__ import annotations

from sqlite_utils import Database

# As core.device_names.ALIKE had them when this migration was made.
_ALIKE = (("1", "l"), ("i", "l"), ("0", "o"), ("rn", "m"), ("vv", "w"), ("_", "-"))

_BY_DEVICES = (
    "'device.connected', 'device.capabilities', 'alarm.record_differs', 'alarm.generation'"
)


def apply(db: Database) -> None:
    """Add an index to devices, to those that have applied, and to events."""
    look = "lower(name)"
    for seen, meant in _ALIKE:
        look = f"replace({look}, '{seen}', '{meant}')"
    db.conn.execute(f"CREATE INDEX device_look ON device ({look})")
    db.conn.execute(f"CREATE INDEX identity_look ON identity ({look})")
    db.conn.execute(
        "CREATE INDEX event_of_device ON event (device_id, kind, event_id)"
        f" WHERE kind IN ({_BY_DEVICES})"
    )
