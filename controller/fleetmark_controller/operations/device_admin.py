"""Operations on devices: name, labels, description, drain and reservation; saved fleets."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection, Mapping, Sequence

from fleetmark_catalog.selectors import FACTS, ONLINE, parse_selector
from fleetmark_controller.mlperf.system import GIVEN, wrong
from fleetmark_controller.operations.effects import Effects
from fleetmark_controller.store import events
from fleetmark_controller.store.devices import descriptions, device_admin, devices, saved_fleets
from fleetmark_controller.store.devices.device_admin import Hold
from fleetmark_controller.store.devices.selection import matching, named
from fleetmark_controller.store.security import audit
from fleetmark_core.clock import NS_PER_S
from fleetmark_core.device_names import RULE, is_device_name
from fleetmark_core.errors import ErrorKind, FleetmarkError

SHARED_IDENTITY = "two agents use its identity; one may be a copy of the other"
"""Reason of the drain of a device whose identity is cloned."""
LONGEST_RESERVATION_S = 90 * 24 * 3600
_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9._/-]{0,62}")
_VALUE = re.compile(r"[\w][\w.:/+-]{0,62}")


def ids(connection: sqlite3.Connection, names: Sequence[str]) -> list[str]:
    """Return the ids of the devices with these names or ids.

    Raises:
        FleetmarkError: NOT_FOUND, with the nearest name; USAGE: `names` is empty.
    """
    if not names:
        raise FleetmarkError(ErrorKind.USAGE, "no device given")
    return [named(connection, name).device_id for name in dict.fromkeys(names)]


def label(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    names: Sequence[str],
    changes: Mapping[str, str | None],
) -> list[str]:
    """Set labels of devices, or remove them (None). They override the labels from the agents.

    Raises:
        FleetmarkError: NOT_FOUND; USAGE: a key or value that selectors could not name.
    """
    del effects
    for key, value in changes.items():
        if not _LABEL.fullmatch(key) or key in FACTS or key in ("name", "in", ONLINE):
            why = (
                "agents report it as a capability"
                if key in FACTS
                else "use letters, digits and the characters . _ / -"
            )
            why = "it says whether a device is connected" if key == ONLINE else why
            raise FleetmarkError(ErrorKind.USAGE, f"{key!r} is not a valid label: {why}")
        if value is not None and not _VALUE.fullmatch(value):
            raise FleetmarkError(
                ErrorKind.USAGE,
                f"{value!r} is not a valid label value: use letters, digits and . : / + _ -",
            )
    found = ids(connection, names)
    for device_id in found:
        device_admin.label(connection, now_ns, device_id, dict(changes))
    return found


def describe(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    name: str,
    changes: Mapping[str, str | None],
) -> list[str]:
    """Set fields of a device's MLPerf system description, or remove them (None).

    Raises:
        FleetmarkError: NOT_FOUND; USAGE: an unknown field, or a value that the field cannot have.
    """
    del effects
    for field, value in changes.items():
        problem = wrong(field, value)
        if problem:
            raise FleetmarkError(ErrorKind.USAGE, problem, next_step=f"Fields: {', '.join(GIVEN)}")
    device = named(connection, name)
    descriptions.change(connection, now_ns, device.device_id, changes)
    return [device.device_id]


def drain(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    names: Sequence[str],
    reason: str,
) -> list[str]:
    """Drain devices: they get no further job, and running jobs continue."""
    del effects
    found = ids(connection, names)
    for device_id in found:
        device_admin.drain(connection, now_ns, device_id, reason)
    return found


def hold_shared_identity(
    connection: sqlite3.Connection, effects: Effects, now_ns: int, device_id: str
) -> None:
    """Drain a device because two agents use its identity.

    An earlier drain by an operator is kept unchanged.
    """
    del effects
    known = device_admin.get(connection, device_id)
    if not known.drained_at:
        device_admin.drain(connection, now_ns, device_id, SHARED_IDENTITY)
    events.add(connection, now_ns, "alarm.identity_shared", device_id=device_id)
    audit.add(connection, now_ns, "controller", "device.hold", device_id, reason=SHARED_IDENTITY)


def resume(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    names: Sequence[str],
    holds: Collection[Hold],
) -> list[str]:
    """End `holds` of devices. Other holds of them remain."""
    found = ids(connection, names)
    for device_id in found:
        device_admin.resume(connection, now_ns, device_id, holds)
    effects.schedule = True
    return found


def reserve(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    names: Sequence[str],
    who: str,
    for_s: float,
) -> list[str]:
    """Reserve devices for the jobs of one operator, for a time.

    Raises:
        FleetmarkError: NOT_FOUND; USAGE; RESERVED: another operator has reserved one of them.
    """
    if not who or not 0 < for_s <= LONGEST_RESERVATION_S:
        raise FleetmarkError(
            ErrorKind.USAGE, "a reservation needs a name and a duration of at most 90 days"
        )
    found = ids(connection, names)
    for device_id, name in zip(found, dict.fromkeys(names), strict=True):
        now = device_admin.get(connection, device_id)
        until = device_admin.reserved_until_ns(now)
        if now.reserved_for not in ("", who) and until > now_ns:
            raise FleetmarkError(
                ErrorKind.RESERVED,
                f"{name} is reserved for {now.reserved_for} until {now.reserved_until}",
                next_step="Ask the holder, or end it with `controller fleet unreserve`",
            )
        device_admin.reserve(connection, now_ns, device_id, who, now_ns + int(for_s * NS_PER_S))
    effects.schedule = True
    return found


def rename(
    connection: sqlite3.Connection, effects: Effects, now_ns: int, name: str, new_name: str
) -> list[str]:
    """Rename a device. The new name also applies to stored results.

    Raises:
        FleetmarkError: NOT_FOUND; USAGE: an invalid name, or one like another device's.
    """
    if not is_device_name(new_name):
        raise FleetmarkError(
            ErrorKind.USAGE, f"{new_name!r} is not a valid device name: a name has {RULE}"
        )
    device = named(connection, name)
    alike = devices.looks_like(connection, device.device_id, new_name)
    if alike not in ("", new_name):
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"{new_name!r} looks like {alike!r}, the name of another device",
            next_step="Choose a name that cannot be confused with it",
        )
    try:
        device_admin.rename(connection, now_ns, device.device_id, new_name)
    except sqlite3.IntegrityError as error:
        raise FleetmarkError(
            ErrorKind.USAGE, f"another device has the name {new_name!r}"
        ) from error
    effects.identities.add(device.device_id)
    return [device.device_id]


def save(
    connection: sqlite3.Connection, effects: Effects, now_ns: int, name: str, selector: str
) -> None:
    """Save a selector under a name, for use as `@name`.

    Raises:
        FleetmarkError: USAGE: an invalid name; another kind: an invalid selector.
    """
    del effects
    if not is_device_name(name):
        raise FleetmarkError(
            ErrorKind.USAGE, f"{name!r} is not a valid name for a saved fleet: a name has {RULE}"
        )
    # Include the new selector, so that a circular reference is found now and not on use.
    parse_selector(f"@{name}", {**saved_fleets.list_all(connection), name: selector})
    matching(connection, selector)
    saved_fleets.save(connection, now_ns, name, selector)


def forget(connection: sqlite3.Connection, effects: Effects, now_ns: int, name: str) -> None:
    """Delete a saved fleet.

    Raises:
        FleetmarkError: NOT_FOUND; USAGE: another saved fleet refers to it.
    """
    del effects, now_ns
    known = saved_fleets.list_all(connection)
    if name not in known:
        from fleetmark_core.suggest import hint

        raise FleetmarkError(
            ErrorKind.NOT_FOUND,
            f"unknown saved fleet {name!r}",
            next_step=hint(name, known) or "Save one with `controller fleet selector set`",
        )
    users = [other for other, text in known.items() if re.search(rf"@{re.escape(name)}\b", text)]
    if users:
        raise FleetmarkError(
            ErrorKind.USAGE, f"@{name} is in use by {', '.join(f'@{user}' for user in users)}"
        )
    saved_fleets.forget(connection, name)
