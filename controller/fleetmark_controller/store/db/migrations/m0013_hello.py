"""Indexes for the lookups of a hello: similar device names, and how often a device caused an event.

They cover the normalized form of names, and the events that devices can cause as often as they
like.
"""

from __future__ import annotations

from sqlite_utils import Database

# Copied from core.device_names.ALIKE when this migration was written.
_ALIKE = (("1", "l"), ("i", "l"), ("0", "o"), ("rn", "m"), ("vv", "w"), ("_", "-"))

_BY_DEVICES = (
    "'device.connected', 'device.capabilities', 'alarm.record_differs', 'alarm.generation'"
)


def apply(db: Database) -> None:
    """Add an index to devices, to identities, and to events."""
    look = "lower(name)"
    for seen, meant in _ALIKE:
        look = f"replace({look}, '{seen}', '{meant}')"
    db.conn.execute(f"CREATE INDEX device_look ON device ({look})")
    db.conn.execute(f"CREATE INDEX identity_look ON identity ({look})")
    db.conn.execute(
        "CREATE INDEX event_of_device ON event (device_id, kind, event_id)"
        f" WHERE kind IN ({_BY_DEVICES})"
    )
