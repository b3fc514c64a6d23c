"""Chooses the address by which other machines reach this controller, for the printed join line."""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_PROBES = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
"""Addresses for documentation (RFC 5737, RFC 3849): they are routed like any other one."""
_CONTAINER_BRIDGES = re.compile(r"br-[0-9a-f]{12}$|cni|docker|lxcbr|podman|veth|virbr")
"""Names of interfaces of containers; Docker's further networks have 12 hexadecimal digits, so that
`br-lan`, a bridge of the local network, does not match."""


@dataclass(frozen=True)
class HostAddress:
    """One address of an interface of this host; `text` has no zone."""

    interface: str
    text: str


def select_address(routed: Sequence[str], addresses: Iterable[HostAddress], local_name: str) -> str:
    """Return the host that the join line names, or an empty string if no machine can reach it.

    In this order: the addresses of the default routes; other routable addresses, those of bridges
    to containers last; IPv4 link-local addresses; `local_name`, if there is an IPv6 link-local
    address, which a device could only use with a zone of its own.

    Args:
        routed: source addresses of the default routes, the preferred one first.
        addresses: all addresses of this host.
        local_name: a name under `.local` that multicast DNS resolves to this host.
    """
    known = [(address, ipaddress.ip_address(address.text)) for address in addresses]
    usable = [
        (address, parsed)
        for address, parsed in known
        if not (parsed.is_loopback or parsed.is_unspecified or parsed.is_multicast)
    ]
    routable = [each for each in usable if not each[1].is_link_local]
    # Python sorts stably: the order of the interfaces stays.
    routable.sort(key=lambda each: (is_container_bridge(each[0].interface), each[1].version))
    link_local = [each for each in usable if each[1].is_link_local]
    candidates = [
        *(text for text in routed if _is_routable(text)),
        *(address.text for address, _ in routable),
        *(address.text for address, parsed in link_local if parsed.version == 4),
        *(local_name for _, parsed in link_local if parsed.version == 6),
    ]
    return next(iter(candidates), "")


def is_container_bridge(interface: str) -> bool:
    """Return whether an interface connects this host only with its own containers."""
    return _CONTAINER_BRIDGES.match(interface) is not None


def _is_routable(text: str) -> bool:
    address = ipaddress.ip_address(text)
    return not (address.is_loopback or address.is_link_local or address.is_unspecified)


def host_addresses() -> list[HostAddress]:
    """Return the IPv4 and IPv6 addresses of this host, without zones, loopback included."""
    import ifaddr

    return [
        HostAddress(adapter.name, str(ip.ip if ip.is_IPv4 else ip.ip[0]))
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
    ]


def routed_addresses() -> list[str]:
    """Return the source addresses of this host's default routes, IPv4 first."""
    found = []
    for family, target in _PROBES:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                # Connecting a datagram socket sends nothing: it asks the routing table alone.
                probe.connect((target, 9))
                found.append(str(probe.getsockname()[0]).partition("%")[0])
        except OSError:
            continue
    return found


def device_host(local_name: str) -> str:
    """Return the host by which devices reach a controller that listens on every address.

    An empty string: this host has no network.
    """
    return select_address(routed_addresses(), host_addresses(), local_name)


def own_host() -> str:
    """Return the loopback address of this host: IPv6 only where IPv4 has none."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind(("127.0.0.1", 0))
    except OSError:
        return "::1"
    return "127.0.0.1"


def host_name_local() -> str:
    """Return this host's name under `.local`, which a responder such as Avahi answers for."""
    return f"{socket.gethostname().partition('.')[0] or 'localhost'}.local"


def listen_fault(host: str, port: int) -> str:
    """Return why this host cannot listen on an address; empty if only the port is taken."""
    try:
        info = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST | socket.AI_PASSIVE
        )[0]
        with socket.socket(info[0], info[1]) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(info[4])
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return ""
        if error.errno == errno.EADDRNOTAVAIL:
            return "this host does not have this address"
        return (error.strerror or str(error)).lower()
    return ""
