"""Chooses the name under which a device enrolls and introduces itself."""

from __future__ import annotations

import re
import socket

from fleetmark_agent.state.identity import Enrollment
from fleetmark_core.device_names import is_device_name


def device_name(given: str, known: Enrollment | None) -> str:
    """Return the given name, else the enrollment's name, else one derived from the host's name.

    A host's name may change, for example by DHCP, but operators know the device by its name.

    Args:
        given: the name from `--name` or config.toml; empty if there is none.
        known: the enrollment of this device, if it has one.
    """
    if given:
        return given
    if known is not None and is_device_name(known.name):
        return known.name
    return name_from_host(socket.gethostname())


def name_from_host(host: str) -> str:
    """Return a device name made of a host's name."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", host).strip("-._")[:63]
    return name or "device"
