"""The fleet as the store has it, read anew only when a device has changed.

Reading thousands of devices takes longer than all else of a small campaign, and they seldom change.
"""

from __future__ import annotations

import sqlite3

from fleetmark_controller.planning.device import Roll
from fleetmark_controller.store.devices import devices


class Roster:
    """Keeps what it read last; any thread may ask."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._known: tuple[int, Roll] = (-1, Roll())

    def every(self, connection: sqlite3.Connection) -> Roll:
        """See `devices.every`. The list is shared: leave it as it is.

        `connection` is in a transaction, so that version and devices are of one moment.
        """
        version = int(connection.execute("SELECT version FROM roster").fetchone()[0])
        known = self._known
        if known[0] != version:
            known = self._known = (version, devices.every(connection))
        return known[1]
