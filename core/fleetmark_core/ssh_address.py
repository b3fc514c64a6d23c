"""Addresses of devices behind SSH: ssh://USER@HOST:PORT, and jump hosts as OpenSSH's -J names them.

The parts become arguments of OpenSSH's client. Strict patterns keep every part from being read as
an option, a shell word or a token of ssh_config, wherever the address came from.
"""

from __future__ import annotations

import re
from typing import NamedTuple

PREFIX = "ssh://"
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9_.-]{1,15})?")
_FORM = "ssh://[USER@]HOST[:PORT], with an IPv6 host in brackets"
_JUMP_FORM = "[USER@]HOST[:PORT], or several with commas"
_MOST_JUMPS = 8


class SshAddress(NamedTuple):
    """One SSH server, as the operator wrote it; OpenSSH's configuration gives what is left out."""

    host: str
    user: str = ""
    port: int = 0

    def __str__(self) -> str:
        """Return the address as a URL."""
        return PREFIX + _joined(self)


def parse_ssh_address(text: str) -> SshAddress:
    """Parse ssh://USER@HOST:PORT.

    Raises:
        ValueError: the text has another form, or a part has a character that is not allowed.
    """
    if not text.startswith(PREFIX):
        raise ValueError(f"{text!r} is not {_FORM}")
    try:
        return _parse(text.removeprefix(PREFIX))
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}; expected {_FORM}") from None


def parse_jump(text: str) -> str:
    """Return the jump hosts in the form of OpenSSH's option -J.

    Raises:
        ValueError: the text has another form, or a part has a character that is not allowed.
    """
    parts = text.split(",")
    if len(parts) > _MOST_JUMPS:
        raise ValueError(f"{text!r} has more than {_MOST_JUMPS} jump hosts")
    try:
        return ",".join(_joined(_parse(part)) for part in parts)
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}; expected {_JUMP_FORM}") from None


def _parse(text: str) -> SshAddress:
    user, at, place = text.rpartition("@")
    if at and not _USER.fullmatch(user):
        raise ValueError(f"{user!r} is not a user name")
    if place.startswith("["):
        host, bracket, rest = place[1:].partition("]")
        if not bracket or not _IPV6.fullmatch(host):
            raise ValueError(f"{place!r} is not an IPv6 address in brackets")
    else:
        host, colon, rest = place.partition(":")
        rest = colon + rest
        if not _HOST.fullmatch(host):
            raise ValueError(f"{host!r} is not a host name")
    if not rest:
        return SshAddress(host, user)
    port = rest[1:]
    is_number = port.isascii() and port.isdecimal() and len(port) <= 5
    if not rest.startswith(":") or not is_number or not 0 < int(port) < 65536:
        raise ValueError(f"{rest!r} is not a port")
    return SshAddress(host, user, int(port))


def _joined(address: SshAddress) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    user = f"{address.user}@" if address.user else ""
    return user + host + (f":{address.port}" if address.port else "")
