"""Queries that find devices by selector or by name."""

from __future__ import annotations

import sqlite3

from fleetmark_catalog.selectors import check_words, parse_selector
from fleetmark_controller.planning.device import Device
from fleetmark_controller.store.devices import devices, saved_fleets
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.suggest import hint


def matching(connection: sqlite3.Connection, selector: str) -> list[Device]:
    """Return the devices that a selector matches; all devices for an empty selector.

    Raises:
        FleetmarkError: the selector does not parse, or contains a word that no device has.
    """
    found = devices.every(connection)
    if not selector:
        return found
    wanted = parse_selector(selector, saved_fleets.every(connection))
    check_words(wanted, found.words)
    return found.matching(wanted)


def matching_names(connection: sqlite3.Connection, selector: str) -> list[str]:
    """Return the names of the devices that a selector matches."""
    return [device.name for device in matching(connection, selector)]


def named(connection: sqlite3.Connection, name: str) -> Device:
    """Return the device with this name or id.

    Raises:
        FleetmarkError: NOT_FOUND, with the nearest name.
    """
    found = devices.every(connection)
    for device in found:
        if name in (device.name, device.device_id):
            return device
    raise FleetmarkError(
        ErrorKind.NOT_FOUND,
        f"no device {name!r}",
        next_step=hint(name, [d.name for d in found]) or "No device is registered",
    )
