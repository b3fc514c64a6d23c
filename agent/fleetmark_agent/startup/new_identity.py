"""New identity for a device whose home is a copy of another device's home."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from fleetmark_agent.errors import from_os_error
from fleetmark_agent.state.file_locks import try_lock
from fleetmark_agent.state.identity import folder, new_device_id, not_enrolled_error
from fleetmark_core.errors import ErrorKind, FleetmarkError


def become_new_device(home: Path) -> str:
    """Remove the identity in `home`, create a new device id and return it.

    If interrupted at any moment, it leaves the old identity or none; an agent without an identity
    creates one.

    Raises:
        FleetmarkError: NOT_ENROLLED: there is no identity; HOME_IN_USE: an agent runs with this
            home; CONFIGURATION or DISK_FULL: the home cannot be written.
    """
    place = folder(home)
    if not place.is_dir():
        raise not_enrolled_error(str(home))
    try:
        lock = try_lock(home / "agent.lock")
        if lock is None:
            raise FleetmarkError(
                ErrorKind.HOME_IN_USE, "an agent runs with this home", str(home), "Stop it first"
            )
        try:
            # Rename it first: a half-removed identity would be reported as damaged.
            removed = place.with_name(".identity.removed")
            shutil.rmtree(removed, ignore_errors=True)
            place.rename(removed)
            shutil.rmtree(removed)
            return new_device_id(home)
        finally:
            os.close(lock)
    except OSError as error:
        raise from_os_error(error, str(home)) from error
