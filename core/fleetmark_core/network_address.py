"""Network addresses as text: HOST:PORT, where an IPv6 host is in brackets."""

from __future__ import annotations

from collections.abc import Iterable

_FORM = "HOST:PORT, with an IPv6 host in brackets"


def split_address(text: str) -> tuple[str, int]:
    """Return the host, without brackets, and the port of HOST:PORT.

    An IPv6 host may have a zone (RFC 4007): `[fe80::1%eth0]:7117`.

    Raises:
        ValueError: the text has another form, or the port is not 1 to 65535.
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{text!r} is not {_FORM}")
    if (
        not colon
        or not host
        or any(letter.isspace() or letter in "[]/" for letter in host)
        or not (port.isascii() and port.isdecimal() and len(port) <= 5)
        or not 0 < int(port) < 65536
    ):
        raise ValueError(f"{text!r} is not {_FORM}")
    return host, int(port)


def join_address(host: str, port: int) -> str:
    """Return HOST:PORT; an IPv6 host gets brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_link_local(host: str) -> bool:
    """Return whether an IPv4 or IPv6 literal, with or without a zone, is link-local."""
    import ipaddress

    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_link_local
    except ValueError:
        return False


def dialing_order(hosts: Iterable[str]) -> list[str]:
    """Return addresses in the order in which to dial them, without repetitions.

    Routable addresses come before link-local ones, and the two families alternate, so that a
    family that does not work delays the other one by a single step (RFC 8305, section 4). Within
    these rules the given order stays.
    """
    unique = list(dict.fromkeys(hosts))
    ordered: list[str] = []
    for link_local in (False, True):
        group = [host for host in unique if is_link_local(host) is link_local]
        families = [[h for h in group if ":" in h], [h for h in group if ":" not in h]]
        if group and ":" not in group[0]:
            families.reverse()
        for index in range(max(map(len, families))):
            ordered += [family[index] for family in families if index < len(family)]
    return ordered
