"""Administrative state of devices: names, labels, drains, reservations, quarantine."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any

from fleetmark_controller.store import events
from fleetmark_core.clock import iso, parse_iso

_COLUMNS = """coalesce(drained_at, ''), drain_reason, reserved_for, reserved_until, failures,
    last_failure, check_campaign, checked_at"""


class Hold(Enum):
    """A state in which a device gets no jobs, or only those of one operator."""

    DRAIN = "drain"
    RESERVATION = "reservation"
    QUARANTINE = "quarantine"


_NOT_HELD: Mapping[Hold, Mapping[str, Any]] = MappingProxyType(
    {
        Hold.DRAIN: {"drained_at": None, "drain_reason": ""},
        Hold.RESERVATION: {"reserved_for": "", "reserved_until": ""},
        Hold.QUARANTINE: {
            "failures": 0,
            "failed_job": "",
            "last_failure": "",
            "check_campaign": "",
            "checked_at": "",
        },
    }
)
"""The columns of each hold, with the values that they have without it."""


@dataclass(frozen=True)
class DeviceAdminState:
    """The administrative state of one device; a field that was never set is empty.

    Times are ISO 8601 in UTC.
    """

    drained_at: str = ""
    drain_reason: str = ""
    reserved_for: str = ""
    reserved_until: str = ""
    failures: int = 0
    last_failure: str = ""
    check_campaign: str = ""
    checked_at: str = ""


def reserved_until_ns(care: DeviceAdminState) -> int:
    """Return the wall-clock time in ns at which the reservation ends; 0 if not reserved."""
    return parse_iso(care.reserved_until) if care.reserved_until else 0


def list_all(connection: sqlite3.Connection) -> dict[str, DeviceAdminState]:
    """Return the administrative state of every device that has one, by device id."""
    rows = connection.execute(f"SELECT device_id, {_COLUMNS} FROM device_admin")  # noqa: S608
    return {row[0]: DeviceAdminState(*tuple(row)[1:]) for row in rows}


def get(connection: sqlite3.Connection, device_id: str) -> DeviceAdminState:
    """Return the administrative state of one device."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM device_admin WHERE device_id = ?",  # noqa: S608
        (device_id,),
    ).fetchone()
    return DeviceAdminState() if row is None else DeviceAdminState(*row)


def drain(connection: sqlite3.Connection, now_ns: int, device_id: str, reason: str) -> None:
    """Dispatch no further jobs to the device until it is resumed."""
    _set(connection, device_id, drained_at=iso(now_ns), drain_reason=reason)
    events.add(connection, now_ns, "device.drained", device_id=device_id, reason=reason)


def resume(
    connection: sqlite3.Connection, now_ns: int, device_id: str, holds: Collection[Hold]
) -> None:
    """End `holds` of a device. Without another hold, it takes jobs again."""
    for hold in holds:
        _set(connection, device_id, **_NOT_HELD[hold])
    events.add(
        connection, now_ns, "device.resumed", device_id=device_id, holds=[h.value for h in holds]
    )


def reserve(
    connection: sqlite3.Connection, now_ns: int, device_id: str, who: str, until_ns: int
) -> None:
    """Reserve the device: until `until_ns`, it takes only jobs that `who` submits."""
    _set(connection, device_id, reserved_for=who, reserved_until=iso(until_ns))
    events.add(
        connection,
        now_ns,
        "device.reserved",
        device_id=device_id,
        reserved_for=who,
        until=iso(until_ns),
    )


def rename(connection: sqlite3.Connection, now_ns: int, device_id: str, name: str) -> None:
    """Rename a device. The new name also applies to its stored results.

    It takes precedence over the name that the agent reports.

    Raises:
        sqlite3.IntegrityError: another device has this name or is enrolling with it.
    """
    old = connection.execute(
        "SELECT name FROM device WHERE device_id = ?", (device_id,)
    ).fetchone()[0]
    connection.execute("UPDATE device SET name = ? WHERE device_id = ?", (name, device_id))
    connection.execute("UPDATE identity SET name = ? WHERE identity_id = ?", (name, device_id))
    connection.execute(
        "UPDATE run SET device = ? WHERE EXISTS (SELECT 1 FROM attempt"
        " WHERE attempt.job_id = run.job_id AND attempt.epoch = run.epoch AND device_id = ?)",
        (name, device_id),
    )
    _set(connection, device_id, name=name)
    events.add(connection, now_ns, "device.renamed", device_id=device_id, old=old, new=name)


def label(
    connection: sqlite3.Connection,
    now_ns: int,
    device_id: str,
    changes: dict[str, str | None],
) -> dict[str, str]:
    """Set labels of a device. They take precedence over the labels that the agent reports.

    Args:
        connection: Connection in a transaction.
        now_ns: Current time, for the event log.
        device_id: Device to label.
        changes: New labels; None removes a label, also one that the agent reports.

    Returns:
        All labels of the device.
    """
    connection.executemany(
        "INSERT INTO device_label VALUES (?, ?, ?)"
        " ON CONFLICT (device_id, key) DO UPDATE SET value = excluded.value",
        ((device_id, key, value) for key, value in changes.items()),
    )
    row = connection.execute(
        "SELECT labels FROM device WHERE device_id = ?", (device_id,)
    ).fetchone()
    labels = labels_of(connection, device_id, json.loads(row[0]))
    connection.execute(
        "UPDATE device SET labels = ? WHERE device_id = ?",
        (json.dumps(labels, sort_keys=True, ensure_ascii=False), device_id),
    )
    events.add(connection, now_ns, "device.labelled", device_id=device_id, changes=changes)
    return labels


def labels_of(
    connection: sqlite3.Connection, device_id: str, of_agent: dict[str, str]
) -> dict[str, str]:
    """Return the agent's labels, overridden by those that operators set."""
    given: dict[str, str | None] = {
        row[0]: row[1]
        for row in connection.execute(
            "SELECT key, value FROM device_label WHERE device_id = ?", (device_id,)
        )
    }
    return {k: v for k, v in {**of_agent, **given}.items() if v is not None}


def operator_values(connection: sqlite3.Connection, device_id: str) -> dict[str, str]:
    """Return what operators set for a device: `name`, if they set one, and `label:KEY`.

    The labels of its enrollment token count as set by an operator. Values that the agent reports
    are not included.
    """
    row = connection.execute(
        "SELECT (SELECT name FROM device_admin WHERE device_id = ?1),"
        " (SELECT labels FROM identity WHERE identity_id = ?1)",
        (device_id,),
    ).fetchone()
    given = labels_of(connection, device_id, json.loads(row[1] or "{}"))
    values = {f"label:{key}": value for key, value in given.items()}
    return {**values, "name": row[0]} if row[0] else values


def record_failure(connection: sqlite3.Connection, device_id: str, job_id: str, why: str) -> None:
    """Record that a job failed on the device because of the device.

    Consecutive failures of one job count once. The failure policy says which failures count.
    """
    connection.execute("INSERT OR IGNORE INTO device_admin (device_id) VALUES (?)", (device_id,))
    connection.execute(
        "UPDATE device_admin SET failures = failures + (failed_job <> ?1), failed_job = ?1,"
        " last_failure = ?2 WHERE device_id = ?3",
        (job_id, why, device_id),
    )


def record_success(connection: sqlite3.Connection, device_id: str) -> None:
    """Record that a job succeeded on the device, which resets its failure count."""
    connection.execute(
        "UPDATE device_admin SET failures = 0, failed_job = '', last_failure = '',"
        " check_campaign = '', checked_at = '' WHERE device_id = ? AND failures > 0",
        (device_id,),
    )


def record_health_check(
    connection: sqlite3.Connection, now_ns: int, device_id: str, campaign: str
) -> None:
    """Record that a health check of a quarantined device was submitted.

    `campaign` is empty if the check could not be submitted.
    """
    _set(connection, device_id, check_campaign=campaign, checked_at=iso(now_ns))


def quarantined(connection: sqlite3.Connection, after: int) -> list[str]:
    """Return the ids of devices that let `after` or more jobs fail one after another."""
    rows = connection.execute(
        "SELECT device_id FROM device_admin LEFT JOIN identity ON identity_id = device_id"
        " WHERE failures >= ? AND coalesce(state, 'active') NOT IN ('revoked', 'removed')",
        (after,),
    )
    return [row[0] for row in rows]


def _set(connection: sqlite3.Connection, device_id: str, **values: Any) -> None:
    connection.execute("INSERT OR IGNORE INTO device_admin (device_id) VALUES (?)", (device_id,))
    names = ", ".join(f"{name} = ?" for name in values)
    connection.execute(
        f"UPDATE device_admin SET {names} WHERE device_id = ?",  # noqa: S608
        (*values.values(), device_id),
    )
