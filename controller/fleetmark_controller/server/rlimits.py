"""How many files and connections this process may have open at once."""

from __future__ import annotations

import logging
from dataclasses import dataclass

log = logging.getLogger("fleetmark.controller")
_WITHOUT_END = 1 << 20
"""Where the system sets no end: more than any fleet has boards."""
_FEW = 4096
_LARGEST_RESERVE = 1024


@dataclass(frozen=True)
class ConnectionShares:
    """How many connections each port may hold, so that the store always finds descriptors."""

    session: int
    """On the port for callers with a certificate."""
    entry: int
    """On the open port. A flood there takes no connection from enrolled devices."""


def share_connections(limit: int | None) -> ConnectionShares | None:
    """Divide the descriptors of this process among its ports, its store and its files.

    The store, its readers, blobs and child processes keep an eighth, at most 1,024; the open port
    gets an eighth. A controller without connections holds about 50 descriptors.

    Args:
        limit: the soft limit of descriptors, see `raise_limit`; None if there is no limit.
    """
    if limit is None or limit < 0:
        return None
    eighth = limit // 8
    return ConnectionShares(limit - min(eighth, _LARGEST_RESERVE) - eighth, eighth)


def raise_limit() -> int | None:
    """Allow as many as the system grants; returns how many, None where there is no such limit.

    Every board holds one connection: with the usual soft limit of 1,024 the next ones could not
    connect, and nobody would be told why.
    """
    try:
        import resource
    except ImportError:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WITHOUT_END if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
        except (OSError, ValueError) as error:
            log.warning("the limit of open files stays at %d: %s", soft, error)
    if soft == resource.RLIM_INFINITY:
        return None
    shares = share_connections(soft)
    if shares is not None and soft < _FEW:
        log.warning(
            "this system allows %d open files: at most %d devices and operators can be connected."
            " Raise the hard limit (`ulimit -Hn`, LimitNOFILE= of the unit) for more",
            soft,
            shares.session,
        )
    return soft
