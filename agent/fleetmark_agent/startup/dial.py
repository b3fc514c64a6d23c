"""Parallel dialing of several addresses of one controller; the first that answers is used."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Sequence
from contextlib import suppress

from fleetmark_core.network_address import dialing_order

MAX_ADDRESSES = 64
"""Maximum number of addresses to dial: an advertisement comes from an unknown sender."""
_STEP_S = 0.05
_LIMIT_S = 2.0


def first_reachable(hosts: Sequence[str], port: int, limit_s: float = _LIMIT_S) -> str:
    """Return the first address that accepts a TCP connection, or an empty string.

    Another address is dialed every 50 ms, or at once when one fails; earlier attempts stay open
    meanwhile (RFC 8305, section 5, with a shorter delay for the local network).

    Args:
        hosts: IPv4 and IPv6 literals; an IPv6 literal may have a zone.
        port: the port to dial.
        limit_s: how long to wait after the last dialed address, in seconds.
    """
    waiting = dialing_order(hosts)[:MAX_ADDRESSES]
    with selectors.DefaultSelector() as selector:
        try:
            return _race(selector, waiting, port, limit_s)
        finally:
            for key in list(selector.get_map().values()):
                selector.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]


def _race(selector: selectors.BaseSelector, waiting: list[str], port: int, limit_s: float) -> str:
    until = time.monotonic() + limit_s
    while waiting or selector.get_map():
        if waiting:
            host = waiting.pop(0)
            dialed = _begin(host, port)
            if dialed is None:
                continue
            selector.register(dialed, selectors.EVENT_WRITE, host)
            until = time.monotonic() + limit_s
        pause_s = _STEP_S if waiting else until - time.monotonic()
        if pause_s <= 0:
            return ""
        for key, _ in selector.select(pause_s):
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            selector.unregister(connection)
            failed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            connection.close()
            if not failed:
                return str(key.data)
    return ""


def _begin(host: str, port: int) -> socket.socket | None:
    """Return a connecting socket; None if the address cannot be dialed."""
    made = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )[0]
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        with suppress(BlockingIOError):
            made.connect(address)
    except (OSError, UnicodeError, OverflowError):
        if made is not None:
            made.close()
        return None
    return made
