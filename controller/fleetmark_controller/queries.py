"""Queries that need a selector."""

from __future__ import annotations

import sqlite3

from fleetmark_catalog.selectors import Subject, parse_selector, unknown_words
from fleetmark_controller.store import devices
from fleetmark_controller.store.devices import Device
from fleetmark_protos.errors import ErrorKind, FleetmarkError


def matching(connection: sqlite3.Connection, selector: str) -> list[Device]:
    """Devices that a selector matches; all for an empty one.

    Raises:
        CatalogError: the selector does not parse.
        FleetmarkError: UNKNOWN_WORD.
    """
    found = devices.every(connection)
    if not selector:
        return found
    wanted = parse_selector(selector)
    subjects = [Subject(device.name, device.labels, device.capabilities) for device in found]
    strange = unknown_words(wanted, subjects)
    if strange:
        raise FleetmarkError(ErrorKind.UNKNOWN_WORD, "; ".join(strange), f"--fleet {selector}")
    return [d for d, s in zip(found, subjects, strict=True) if wanted.explain(s).matches]


def matching_names(connection: sqlite3.Connection, selector: str) -> list[str]:
    """Names of the devices that a selector matches."""
    return [device.name for device in matching(connection, selector)]
