"""History of each device's capabilities: one row per change."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from fleetmark_controller.store.devices.capability_cache import CAPABILITIES
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.clock import NS_PER_S, iso

MOST_A_DAY = 100
"""Maximum number of changes per device and day that are kept."""
_DAY_NS = 24 * 3600 * NS_PER_S


def record_if_changed(
    connection: sqlite3.Connection,
    now_ns: int,
    device_id: str,
    capabilities: Capabilities,
    *,
    new: bool = False,
) -> None:
    """Store these capabilities if they differ from the last stored ones.

    With `new`, the device is new and has no stored capabilities, so none are looked up.
    """
    text = CAPABILITIES.steady_text(capabilities)
    last = None if new else _last(connection, device_id)
    if last is None or (last != text and json.loads(last) != json.loads(text)):
        _keep(connection, now_ns, device_id, text)


def _keep(connection: sqlite3.Connection, now_ns: int, device_id: str, text: str) -> None:
    """Add a row.

    If the device already has `MOST_A_DAY` rows of the last 24 hours, the new row replaces the
    newest one, so that no device can fill the store.
    """
    row = connection.execute(
        "SELECT at FROM device_history WHERE device_id = ? ORDER BY at DESC LIMIT 1 OFFSET ?",
        (device_id, MOST_A_DAY - 1),
    ).fetchone()
    if row is not None and row[0] >= iso(now_ns - _DAY_NS):
        connection.execute(
            "DELETE FROM device_history WHERE device_id = ?1 AND at ="
            " (SELECT max(at) FROM device_history WHERE device_id = ?1)",
            (device_id,),
        )
    connection.execute(
        "INSERT OR REPLACE INTO device_history VALUES (?, ?, ?)", (device_id, iso(now_ns), text)
    )


def _last(connection: sqlite3.Connection, device_id: str) -> str | None:
    row = connection.execute(
        "SELECT capabilities FROM device_history WHERE device_id = ? ORDER BY at DESC LIMIT 1",
        (device_id,),
    ).fetchone()
    return None if row is None else str(row[0])


def changes(connection: sqlite3.Connection, device_id: str) -> list[tuple[str, str]]:
    """Return the time and a description of each change of a device's capabilities, oldest first."""
    rows = connection.execute(
        "SELECT at, capabilities FROM device_history WHERE device_id = ? ORDER BY at",
        (device_id,),
    ).fetchall()
    found: list[tuple[str, str]] = []
    before: dict[str, str] | None = None
    for at, text in rows:
        now = dict(_flat(json.loads(text)))
        if before is None:
            found.append((at, "first seen"))
        else:
            found.append((at, "; ".join(_differences(before, now))))
        before = now
    return found


def _differences(before: dict[str, str], now: dict[str, str]) -> list[str]:
    texts = []
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if old == new:
            continue
        if old is None:
            texts.append(f"new: {key} {new}".rstrip())
        elif new is None:
            texts.append(f"gone: {key} {old}".rstrip())
        else:
            texts.append(f"{key}: {old} → {new}")
    return texts


def _flat(value: Any, path: str = "") -> list[tuple[str, str]]:
    """Return the leaves of a value, each with its path.

    Items of a list are identified by name instead of position, so that their order does not matter.
    """
    if isinstance(value, dict):
        return [
            leaf
            for key, item in value.items()
            for leaf in _flat(item, f"{path}.{key}" if path else key)
        ]
    if isinstance(value, (list, tuple)):
        leaves: list[tuple[str, str]] = []
        for item in value:
            if isinstance(item, dict):
                name = str(item.get("name") or item.get("path") or item.get("kind") or "")
                leaves.append((f"{path} {name}", str(item.get("version") or "")))
            else:
                leaves.append((f"{path} {item}", ""))
        return leaves
    return [] if value is None else [(path, str(value))]
