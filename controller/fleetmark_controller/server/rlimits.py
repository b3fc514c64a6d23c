"""How many files and connections this process may have open at once."""

from __future__ import annotations

import logging

log = logging.getLogger("fleetmark.controller")
_WITHOUT_END = 1 << 20
"""Where the system sets no end: more than any fleet has boards."""
_FEW = 4096


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
    if soft != resource.RLIM_INFINITY and soft < _FEW:
        log.warning(
            "this system allows %d open files: about as many boards can be connected. Raise the"
            " hard limit (`ulimit -Hn`, LimitNOFILE= of the unit) for more",
            soft,
        )
    return soft
