"""Fields that operators set for MLPerf's system description of a device."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from fleetmark_controller.store import events


def get_for_device(connection: sqlite3.Connection, device_id: str) -> dict[str, str]:
    """Return the description fields of one device, by name."""
    rows = connection.execute(
        "SELECT field, value FROM device_description WHERE device_id = ? ORDER BY field",
        (device_id,),
    )
    return {row[0]: row[1] for row in rows}


def change(
    connection: sqlite3.Connection,
    now_ns: int,
    device_id: str,
    changes: Mapping[str, str | None],
) -> None:
    """Set description fields of a device; a value of None removes the field."""
    for field, value in changes.items():
        if value is None:
            connection.execute(
                "DELETE FROM device_description WHERE device_id = ? AND field = ?",
                (device_id, field),
            )
        else:
            connection.execute(
                "INSERT INTO device_description VALUES (?, ?, ?) "
                "ON CONFLICT (device_id, field) DO UPDATE SET value = excluded.value",
                (device_id, field, value),
            )
    events.add(connection, now_ns, "device.described", device_id=device_id, fields=sorted(changes))
