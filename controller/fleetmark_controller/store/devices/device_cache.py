"""Cache of the fleet's devices, reloaded only when a device has changed.

Reading thousands of devices takes longer than everything else in a small campaign, and devices
rarely change.
"""

from __future__ import annotations

import sqlite3

from fleetmark_controller.planning.device import DeviceList
from fleetmark_controller.store.devices import devices


class CachedDeviceList:
    """Cache of the list of devices. Safe to use from any thread."""

    def __init__(self) -> None:
        """Start with an empty cache."""
        self._known: tuple[int, DeviceList] = (-1, DeviceList())

    def list_all(self, connection: sqlite3.Connection) -> DeviceList:
        """Return the list of `devices.list_all`. The list is shared; do not change it.

        `connection` must be in a transaction, so that the version and the devices belong to the
        same state of the store.
        """
        version = int(connection.execute("SELECT version FROM device_list_version").fetchone()[0])
        known = self._known
        if known[0] != version:
            known = self._known = (version, devices.list_all(connection))
        return known[1]
