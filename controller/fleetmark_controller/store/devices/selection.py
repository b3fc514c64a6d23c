"""Queries that find devices by selector or by name."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection

from fleetmark_catalog.selectors import check_words, parse_selector
from fleetmark_controller.planning.device import Device
from fleetmark_controller.store.devices import devices, saved_fleets
from fleetmark_controller.store.id_lookup import LAST, SHORTEST_DEVICE_PART, resolve_id
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.suggest import hint


def matching(
    connection: sqlite3.Connection, selector: str, online: Collection[str] | None = None
) -> list[Device]:
    """Return the devices that a selector matches; all for an empty selector.

    `online` are the ids of the devices that are connected now; None if unknown.

    Raises:
        FleetmarkError: the selector does not parse, or contains a word that no device has.
    """
    found = devices.list_all(connection)
    if not selector:
        return found
    wanted = parse_selector(selector, saved_fleets.list_all(connection))
    check_words(wanted, found.words)
    return found.matching(wanted, online)


def matching_names(
    connection: sqlite3.Connection, selector: str, online: Collection[str] | None = None
) -> list[str]:
    """Return the names of the devices that a selector matches, see `matching`."""
    return [device.name for device in matching(connection, selector, online)]


def named(connection: sqlite3.Connection, name: str) -> Device:
    """Return the device with this name or part of its id; `last` is the newest registered one.

    A name has priority over an id. A part of an id has at least 6 characters, so that a mistyped
    name is not mistaken for one.

    Raises:
        FleetmarkError: NOT_FOUND, with the nearest name; USAGE if several ids contain this part.
    """
    found = devices.list_all(connection)
    device = next((device for device in found if device.name == name), None)
    if device is None and (len(name) >= SHORTEST_DEVICE_PART or name == LAST):
        try:
            device_id = resolve_id(connection, name, ("device",)).item_id
        except FleetmarkError as error:
            if error.kind is not ErrorKind.NOT_FOUND:
                raise
        else:
            device = next((device for device in found if device.device_id == device_id), None)
    if device is None:
        raise FleetmarkError(
            ErrorKind.NOT_FOUND,
            f"no device is called {name!r}",
            next_step=hint(name, [d.name for d in found]) or "No device is registered",
        )
    return device
