"""Limits of the files and connections that this process may have open at once."""

from __future__ import annotations

from dataclasses import dataclass

from fleetmark_core.log import get_logger

log = get_logger("fleetmark.controller")
_WITHOUT_END = 1 << 20
"""Limit to request where the system sets none: more than any fleet has devices."""
_FEW = 4096
_LARGEST_RESERVE = 1024


@dataclass(frozen=True)
class ConnectionShares:
    """Number of connections each port may hold, so that descriptors remain for the store."""

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
    """Raise the soft limit of open files to the hard limit; return it, or None without a limit.

    Every device holds one connection. With the usual soft limit of 1,024, further devices could not
    connect, without any error message.
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
            log.warning("limit of open files not raised", limit=soft, error=error)
    if soft == resource.RLIM_INFINITY:
        return None
    shares = share_connections(soft)
    if shares is not None and soft < _FEW:
        log.warning(
            "low limit of open files detected",
            limit=soft,
            connections=shares.session,
            hint=f"At most {shares.session} devices and operators can connect. Raise the hard limit"
            " (`ulimit -Hn`, LimitNOFILE= in the systemd unit)",
        )
    return soft
