"""Finds controllers by multicast DNS.

`python -I -m fleetmark_agent.startup.mdns_browse [CA_SHA256]`, a process of its own. Prints
{"address": "HOST:PORT"} of the first controller that can be reached, whose CA has this fingerprint
if one is given; {} if none is found in time.
"""

from __future__ import annotations

import json
import queue
import socket
import sys
import time

from zeroconf import IPVersion, ServiceBrowser, ServiceInfo, ServiceListener, Zeroconf

from fleetmark_protos.channel import SERVICE_TYPE

_PATIENCE_S = 3.0
_REACH_S = 1.0
_MAX_ADDRESSES = 8


class _Heard(ServiceListener):
    def __init__(self) -> None:
        self.names: queue.SimpleQueue[str] = queue.SimpleQueue()

    def add_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        self.names.put(name)

    def update_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        self.names.put(name)

    def remove_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        return


def find(ca_sha256: str = "", patience_s: float = _PATIENCE_S) -> str:
    """HOST:PORT of a controller; empty if none is found in time."""
    until = time.monotonic() + patience_s
    try:
        zeroconf = Zeroconf()
    except OSError:
        return ""  # no network at all
    try:
        heard = _Heard()
        ServiceBrowser(zeroconf, SERVICE_TYPE, heard)
        while (left_s := until - time.monotonic()) > 0:
            try:
                name = heard.names.get(timeout=left_s)
            except queue.Empty:
                break
            info = zeroconf.get_service_info(SERVICE_TYPE, name, timeout=1500)
            address = _usable(info, ca_sha256) if info else ""
            if address:
                return address
        return ""
    finally:
        zeroconf.close()


def _usable(info: ServiceInfo, ca_sha256: str) -> str:
    shown = (info.properties.get(b"ca") or b"").decode("ascii", "replace")
    if ca_sha256 and shown != ca_sha256:
        return ""
    for host in info.parsed_scoped_addresses(IPVersion.All)[:_MAX_ADDRESSES]:
        try:
            socket.create_connection((host, info.port or 0), timeout=_REACH_S).close()
        except (OSError, ValueError, OverflowError):
            continue  # nobody there, or no address at all
        return f"[{host}]:{info.port}" if ":" in host else f"{host}:{info.port}"
    return ""


def main() -> int:
    """Prints what is found."""
    found = find(sys.argv[1] if len(sys.argv) > 1 else "")
    print(json.dumps({"address": found} if found else {}))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
