"""Registered devices: names, labels and capabilities."""

from __future__ import annotations

import json
import sqlite3

from fleetmark_controller.planning.device import Device, DeviceList
from fleetmark_controller.store.devices import capability_history, device_admin
from fleetmark_controller.store.devices.capability_cache import CAPABILITIES
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.clock import iso
from fleetmark_core.device_names import ALIKE

LOOK = "lower({})"


def upsert(
    connection: sqlite3.Connection,
    now_ns: int,
    *,
    device_id: str,
    name: str,
    labels: dict[str, str],
    capabilities: Capabilities,
    agent_version: str,
    boot_id: str,
) -> bool:
    """Register a device or update it.

    A name and labels that operators set take precedence, as do the labels of its identity. A name
    that another device has gets a number, because operators tell devices apart by their names.

    Returns:
        Whether the device is new.
    """
    text = CAPABILITIES.text(capabilities)
    CAPABILITIES.keep(text, capabilities)
    found = connection.execute(_STANDING, (device_id, name)).fetchone()
    known, applied_as, of_identity, given, labelled, taken = found
    name = given or (free_name(connection, device_id, name) if taken else name)
    if applied_as not in (None, name):
        # The identity's name follows the device's name, because operators use one name for both.
        connection.execute("UPDATE identity SET name = ? WHERE identity_id = ?", (name, device_id))
    # An operator chose the labels of the enrollment token, so they override the agent's labels.
    labels = {**labels, **json.loads(of_identity or "{}")}
    if labelled:
        labels = device_admin.labels_of(connection, device_id, labels)
    connection.execute(
        """INSERT INTO device VALUES (?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (device_id) DO UPDATE SET name = excluded.name, labels = excluded.labels,
        capabilities = excluded.capabilities, agent_version = excluded.agent_version,
        boot_id = excluded.boot_id, last_seen_at = excluded.last_seen_at""",
        (
            device_id,
            name,
            json.dumps(labels, sort_keys=True, ensure_ascii=False),
            text,
            agent_version,
            boot_id,
            iso(now_ns),
            iso(now_ns),
        ),
    )
    capability_history.record_if_changed(
        connection, now_ns, device_id, capabilities, new=known is None
    )
    return known is None


for _seen, _meant in ALIKE:
    LOOK = f"replace({LOOK}, '{_seen}', '{_meant}')"
"""SQL version of `fleetmark_core.device_names.look`; indexed by migration 13."""
_DEVICE_LOOK, _IDENTITY_LOOK, _ASKED = (
    LOOK.format(name) for name in ("device.name", "identity.name", "?2")
)
_ALIKE = f"""SELECT device.name FROM device WHERE {_DEVICE_LOOK} = {_ASKED} AND device_id != ?1
    UNION ALL SELECT identity.name FROM identity WHERE kind = 'device' AND state <> 'removed'
    AND {_IDENTITY_LOOK} = {_ASKED} AND identity_id != ?1"""  # noqa: S608
"""Selects names of other registered or enrolling devices that look like a given name."""
_TAKEN = f"""SELECT 1 FROM ({_ALIKE}) WHERE name = ?2
    OR NOT EXISTS (SELECT 1 FROM device WHERE device_id = ?1 AND name = ?2)"""  # noqa: S608
"""Selects a row if another device has a name, or one that looks like it.

A device keeps its name even if an older controller gave a similar name to another device.
"""
_STANDING = f"""SELECT (SELECT 1 FROM device WHERE device_id = ?1), identity.name, identity.labels,
    (SELECT name FROM device_admin WHERE device_id = ?1),
    EXISTS (SELECT 1 FROM device_label WHERE device_id = ?1), EXISTS ({_TAKEN})
    FROM (SELECT 1) LEFT JOIN identity ON identity_id = ?1"""  # noqa: S608


def set_capabilities(
    connection: sqlite3.Connection, now_ns: int, device_id: str, facts: Capabilities
) -> None:
    """Replace a device's capabilities; the history keeps the previous ones."""
    capability_history.record_if_changed(connection, now_ns, device_id, facts)
    connection.execute(
        "UPDATE device SET capabilities = ? WHERE device_id = ?",
        (CAPABILITIES.text(facts), device_id),
    )


def get(connection: sqlite3.Connection, device_id: str) -> Device | None:
    """Return the device with this id; None if it is not registered."""
    row = connection.execute("SELECT * FROM device WHERE device_id = ?", (device_id,)).fetchone()
    return None if row is None else _device(row)


def rename(connection: sqlite3.Connection, device_id: str, name: str) -> None:
    """Rename a device; the name must not be in use."""
    connection.execute("UPDATE device SET name = ? WHERE device_id = ?", (name, device_id))


def list_all(connection: sqlite3.Connection) -> DeviceList:
    """Return the fleet's devices by name, without those that were revoked or removed."""
    rows = connection.execute(
        "SELECT device.* FROM device LEFT JOIN identity ON identity_id = device_id"
        " WHERE coalesce(state, 'active') NOT IN ('revoked', 'removed') ORDER BY device.name"
    )
    return DeviceList(_device(row) for row in rows)


def free_name(connection: sqlite3.Connection, device_id: str, name: str) -> str:
    """Return `name`, with a number appended if another device has it or is enrolling with it."""
    candidate, number = name, 2
    while _is_taken(connection, device_id, candidate):
        candidate, number = f"{name}-{number}", number + 1
    return candidate


def looks_like(connection: sqlite3.Connection, device_id: str, name: str) -> str:
    """Return the name of another device that looks like `name`, or an empty string."""
    found = connection.execute(f"{_ALIKE} LIMIT 1", (device_id, name)).fetchone()
    return str(found[0]) if found else ""


def _is_taken(connection: sqlite3.Connection, device_id: str, name: str) -> bool:
    found = connection.execute(f"{_TAKEN} LIMIT 1", (device_id, name))
    return found.fetchone() is not None


def _device(row: sqlite3.Row) -> Device:
    values = dict(row)
    values["labels"] = json.loads(values["labels"])
    values["capabilities"] = CAPABILITIES.parse(values["capabilities"])
    return Device(**values)
