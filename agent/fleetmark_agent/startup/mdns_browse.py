"""Search for controllers by multicast DNS, over IPv4 and IPv6.

`python -I -m fleetmark_agent.startup.mdns_browse [CA_SHA256]` runs as a separate process. It prints
{"address": "HOST:PORT"} of the first reachable controller, whose CA must have this fingerprint if
one is given. Otherwise it prints {"reason": TEXT}.
"""

from __future__ import annotations

import ipaddress
import json
import queue
import socket
import sys
import time
from collections.abc import Iterable, Sequence

import ifaddr
from zeroconf import Error, IPVersion, ServiceBrowser, ServiceInfo, ServiceListener, Zeroconf

from fleetmark_agent.startup.dial import first_reachable
from fleetmark_core.network_address import is_link_local, join_address
from fleetmark_protos.channel import SERVICE_TYPE

_PATIENCE_S = 3.0
_QUERY_MS = 1500


class _Names(ServiceListener):
    def __init__(self) -> None:
        self.names: queue.SimpleQueue[str] = queue.SimpleQueue()

    def add_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        self.names.put(name)

    def update_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        self.names.put(name)

    def remove_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        return


def find(ca_sha256: str = "", patience_s: float = _PATIENCE_S) -> tuple[str, str]:
    """Return HOST:PORT of a controller and an empty text, or an empty address and the reason."""
    until = time.monotonic() + patience_s
    zeroconf = open_zeroconf()
    if zeroconf is None:
        return "", "this device has no network that carries multicast"
    reasons: dict[str, None] = {}
    seen: set[str] = set()
    try:
        browser = _Names()
        ServiceBrowser(zeroconf, SERVICE_TYPE, browser)
        while (left_s := until - time.monotonic()) > 0:
            try:
                name = browser.names.get(timeout=left_s)
            except queue.Empty:
                break
            # DNS names are case-insensitive: RFC 4343.
            if name.lower() in seen:
                continue
            seen.add(name.lower())
            try:
                info = zeroconf.get_service_info(SERVICE_TYPE, name, timeout=_QUERY_MS)
            except (Error, ValueError, OSError):
                # Any machine can send an entry with an invalid name; it must not end the search.
                continue
            if info is None:
                continue
            address, reason = _usable(info, ca_sha256)
            if address:
                return address, ""
            reasons[reason] = None
    finally:
        zeroconf.close()
    return "", "; ".join(reasons) or "no controller is advertised on the local network"


def open_zeroconf() -> Zeroconf | None:
    """Return a browser on all interfaces; of one address family if the other is disabled."""
    for version in (IPVersion.All, IPVersion.V4Only, IPVersion.V6Only):
        try:
            return Zeroconf(ip_version=version)
        except (OSError, RuntimeError):
            continue
    return None


def _usable(info: ServiceInfo, ca_sha256: str) -> tuple[str, str]:
    shown = (info.properties.get(b"ca") or b"").decode("ascii", "replace")
    if ca_sha256 and shown != ca_sha256:
        return "", "the controllers on the local network are not the one of the enrollment token"
    port = info.port or 0
    hosts = with_zones(info.parsed_scoped_addresses(IPVersion.All), _link_local_interfaces())
    if not hosts or not 0 < port < 65536:
        return "", "a controller is advertised, but without an address"
    found = first_reachable(hosts, port)
    if found:
        return join_address(found, port), ""
    tried = ", ".join(hosts[:4]) + (", …" if len(hosts) > 4 else "")
    return "", f"a controller is advertised, but does not answer on port {port} of {tried}"


def with_zones(hosts: Iterable[str], interfaces: Sequence[str]) -> list[str]:
    """Return the IP literals in `hosts`; link-local IPv6 ones get the name of an interface as zone.

    zeroconf gives the index of the interface that received a record, if it came over IPv6. Names
    stay the same over a restart, indexes do not. Without an index, each interface is possible.
    """
    found: list[str] = []
    for host in hosts:
        bare, _, zone = host.partition("%")
        try:
            address = ipaddress.ip_address(bare)
        except ValueError:
            continue
        if address.version == 4 or not is_link_local(bare):
            found.append(bare)
        elif zone:
            found.append(f"{bare}%{_interface_name(zone)}")
        else:
            found += [f"{bare}%{name}" for name in interfaces]
    return found


def _interface_name(zone: str) -> str:
    try:
        return socket.if_indextoname(int(zone))
    except (OSError, ValueError, OverflowError):
        return zone


def _link_local_interfaces() -> list[str]:
    """Return the names of this device's interfaces that have a link-local IPv6 address."""
    return [
        adapter.name
        for adapter in ifaddr.get_adapters()
        if any(ip.is_IPv6 and is_link_local(str(ip.ip[0])) for ip in adapter.ips)
    ]


def main() -> int:
    """Search and print the result."""
    address, reason = find(sys.argv[1] if len(sys.argv) > 1 else "")
    print(json.dumps({"address": address} if address else {"reason": reason}))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
