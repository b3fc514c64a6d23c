"""Close connections without calls when they take the capacity that devices and operators need.

gRPC's Python API accepts connections by itself: it has no hook before the TLS handshake, no list of
connections, and no limit per address. Its own limits are set in `fleetmark_protos.channel`: a time
limit for handshakes, an idle time, and a number of connections per port. This module does the rest
from outside: it lists the process's own sockets in the system's folder of open descriptors, and
ends a connection with `shutdown`, whereupon gRPC closes it.

The rule: a connection is *proven* while an enrolled device or an operator has a call open on it.
The other connections on a port may hold half of the capacity that the proven ones leave. If they
hold more, the address with the most of them loses its oldest first. An address never loses a proven
connection, so a fleet behind one tunnel or load balancer is not limited by its address.

Limits: on a system without such a folder (Windows), only gRPC's own limits apply. A flood that is
faster than the polling interval finds the port full until the next poll.
"""

from __future__ import annotations

import asyncio
import heapq
import ipaddress
import os
import socket
import stat
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from fleetmark_core.clock import NS_PER_S, now_monotonic_ns
from fleetmark_core.log import get_logger

log = get_logger("fleetmark.controller")

Endpoint = tuple[str, int]
"""Address and port of one end of a connection."""
Report = Callable[[str, int, int], Awaitable[None]]
"""Takes the address that lost most connections, the total lost, and the port."""

_FOLDERS = ("/proc/self/fd", "/dev/fd")
_PAUSE_S = 0.5
_FLOOD_PAUSE_S = 0.1
"""Pause after a poll that closed connections: the next ones may fill the port at once."""
_DESCRIPTORS_PER_S = 3000
"""Number of descriptors examined per second: with thousands of devices, polls become rarer."""
_HANDSHAKE_NS = 2 * NS_PER_S
"""Younger connections, which may still be in the handshake, are closed only if the port is nearly
full.
"""
_REPORT_PAUSE_NS = 60 * NS_PER_S


@dataclass(frozen=True)
class Connection:
    """An accepted connection."""

    descriptor: int
    inode: int
    port: int
    """The local port."""
    remote: Endpoint
    seen_ns: int
    """Time at which a poll first found it, by the monotonic clock."""


def remote_of_peer(peer: str) -> Endpoint | None:
    """Return the endpoint that gRPC writes as `ipv4:192.0.2.1:1234` or `ipv6:%5B::1%5D:1234`."""
    kind, _, rest = peer.partition(":")
    host, _, port = unquote(rest).rpartition(":")
    if kind not in ("ipv4", "ipv6") or not port.isdecimal():
        return None
    return _normal_host(host.strip("[]")), int(port)


def source_of(host: str) -> str:
    """Return the source of a connection: an IPv4 address, or the /64 network of an IPv6 address."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return host


def select_connections(
    connections: Collection[Connection], proven: Collection[Endpoint], most: int, now_ns: int
) -> list[Connection]:
    """Return the connections of one port to be closed, the first ones first.

    Args:
        connections: all connections of the port.
        proven: remote ends on which a known caller has a call open; these are never returned.
        most: how many connections the port may hold.
        now_ns: the monotonic time.
    """
    unproven = [c for c in connections if c.remote not in proven]
    room = max(0, most - (len(connections) - len(unproven)))
    if len(unproven) * 2 <= room:
        return []
    settled = [c for c in unproven if now_ns - c.seen_ns >= _HANDSHAKE_NS]
    chosen = _largest_first(settled, len(unproven) - room // 2)
    if (len(unproven) - len(chosen)) * 8 > room * 7:
        chosen = _largest_first(unproven, len(unproven) - room // 2)
    return chosen


def _largest_first(connections: Iterable[Connection], count: int) -> list[Connection]:
    """Return up to `count` connections: always the oldest of the source that has the most left."""
    by_source: dict[str, list[Connection]] = defaultdict(list)
    for connection in sorted(connections, key=lambda c: c.seen_ns, reverse=True):
        by_source[source_of(connection.remote[0])].append(connection)
    sizes = [(-len(found), source) for source, found in by_source.items()]
    heapq.heapify(sizes)
    chosen: list[Connection] = []
    while sizes and len(chosen) < count:
        size, source = sizes[0]
        chosen.append(by_source[source].pop())
        if size == -1:
            heapq.heappop(sizes)
        else:
            heapq.heapreplace(sizes, (size + 1, source))
    return chosen


class ConnectionMonitor:
    """Poller that watches the connections of this process's ports."""

    def __init__(
        self, most: dict[int, int], proven_peers: Callable[[], Iterable[str]], report: Report
    ) -> None:
        """Start with no connection seen.

        Args:
            most: how many connections each port may hold.
            proven_peers: returns the peers, in gRPC's notation, on which a known caller has a call.
            report: called at most once a minute when connections were closed.
        """
        self._most = most
        self._proven_peers = proven_peers
        self._report = report
        self._folder = next((place for place in _FOLDERS if Path(place).is_dir()), "")
        self._known: dict[int, tuple[int, Connection | None]] = {}
        self._lost: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self._reported_ns: int | None = None

    async def run(self) -> None:
        """Poll until the task is cancelled."""
        if not self._folder or not self._most:
            return
        least_s = _PAUSE_S
        while True:
            await asyncio.sleep(max(least_s, len(self._known) / _DESCRIPTORS_PER_S))
            try:
                least_s = _FLOOD_PAUSE_S if await self._check() else _PAUSE_S
            except OSError as error:
                log.warning("connections not listed", error=error)

    async def _check(self) -> bool:
        """Close excess connections; return whether there were any."""
        closed = False
        found = await asyncio.to_thread(self._list)
        proven: set[Endpoint] | None = None
        for port, most in self._most.items():
            connections = [c for c in found if c.port == port]
            if len(connections) * 2 <= most:
                continue
            if proven is None:
                proven = {
                    remote for peer in self._proven_peers() if (remote := remote_of_peer(peer))
                }
            for connection in select_connections(connections, proven, most, now_monotonic_ns()):
                if _end(connection):
                    closed = True
                    self._lost[port][source_of(connection.remote[0])] += 1
        await self._report_losses()
        return closed

    async def _report_losses(self) -> None:
        now_ns = now_monotonic_ns()
        if self._reported_ns is not None and now_ns - self._reported_ns < _REPORT_PAUSE_NS:
            return
        lost, self._lost = self._lost, defaultdict(lambda: defaultdict(int))
        for port, by_source in lost.items():
            self._reported_ns = now_ns
            source = max(by_source, key=lambda name: by_source[name])
            count = sum(by_source.values())
            log.warning(
                "connections without calls closed",
                port=port,
                count=count,
                sources=len(by_source),
                most_from=source,
            )
            await self._report(source, count, port)

    def _list(self) -> list[Connection]:
        """Return the connections of the watched ports.

        A descriptor is examined once: its inode number shows whether it is still the same file.
        """
        now_ns, before = now_monotonic_ns(), self._known
        known: dict[int, tuple[int, Connection | None]] = {}
        for name in os.listdir(self._folder):  # noqa: PTH208 -- thousands of names, each a number
            descriptor = int(name)
            try:
                status = os.fstat(descriptor)
            except OSError:
                continue
            entry = before.get(descriptor)
            if entry is None or entry[0] != status.st_ino:
                is_socket = stat.S_ISSOCK(status.st_mode)
                connection = self._examine(descriptor, status.st_ino, now_ns) if is_socket else None
                entry = (status.st_ino, connection)
            known[descriptor] = entry
        self._known = known
        return [connection for _, connection in known.values() if connection is not None]

    def _examine(self, descriptor: int, inode: int, now_ns: int) -> Connection | None:
        ends = _ends_of(descriptor, inode)
        if ends is None or ends[0] not in self._most:
            return None
        return Connection(descriptor, inode, ends[0], ends[1], now_ns)


def _ends_of(descriptor: int, inode: int) -> tuple[int, Endpoint] | None:
    """Return the local port and the remote end of a connection; None for anything else."""
    with suppress(OSError), _borrowed(descriptor, inode) as connection:
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            own, remote = connection.getsockname(), connection.getpeername()
            return int(own[1]), (_normal_host(str(remote[0])), int(remote[1]))
    return None


def _end(connection: Connection) -> bool:
    """Shut a connection down, unless its descriptor now belongs to another file."""
    with suppress(OSError), _borrowed(connection.descriptor, connection.inode) as borrowed:
        borrowed.shutdown(socket.SHUT_RDWR)
        return True
    return False


@contextmanager
def _borrowed(descriptor: int, inode: int) -> Iterator[socket.socket]:
    """Lend gRPC's socket without closing it and without a second descriptor.

    gRPC may close the socket meanwhile, and the number may then belong to another file. If that
    file is not a socket, each call fails; if it is another connection, that one might be closed,
    and its client reconnects. A second descriptor would be worse: closing one that had become the
    store's file would release SQLite's locks.

    Raises:
        OSError: the descriptor is closed, or it now belongs to another file.
    """
    if os.fstat(descriptor).st_ino != inode:
        raise OSError("the descriptor was reused")
    lent = socket.socket(fileno=descriptor)
    try:
        yield lent
    finally:
        lent.detach()


def _normal_host(host: str) -> str:
    """Return an address in one form: without a zone, and IPv4-mapped IPv6 as IPv4."""
    with suppress(ValueError):
        address = ipaddress.ip_address(host.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        return str(mapped or address)
    return host
