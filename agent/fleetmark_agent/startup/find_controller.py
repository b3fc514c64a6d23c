"""Search for a controller on the local network, in a helper process."""

from __future__ import annotations

import json
import subprocess
import sys

from fleetmark_core.tunnel_address import connect, split_address

_COMMAND = (sys.executable, "-I", "-m", "fleetmark_agent.startup.mdns_browse")
_LIMIT_S = 20.0
_REACH_S = 1.0


def is_reachable(address: str) -> bool:
    """Return whether an address, HOST:PORT or that of a tunnel, accepts connections."""
    try:
        connect(*split_address(address), _REACH_S).close()
    except (OSError, ValueError):
        return False
    return True


def find_in_child(ca_sha256: str) -> tuple[str, str]:
    """Return HOST:PORT of a controller nearby and an empty text, or an empty address and a reason.

    Discovery is not trust: the controller that is found must still prove its identity.

    Args:
        ca_sha256: fingerprint of the CA that the controller must advertise; empty: any.
    """
    command = [*_COMMAND, ca_sha256] if ca_sha256 else [*_COMMAND]
    try:
        done = subprocess.run(command, check=False, capture_output=True, timeout=_LIMIT_S)
        found = json.loads(done.stdout or b"{}")
        address, reason = str(found.get("address", "")), str(found.get("reason", ""))
    except (OSError, subprocess.TimeoutExpired, ValueError, AttributeError, RecursionError):
        address, reason = "", ""
    return address, "" if address else reason or "the search by multicast DNS failed"
