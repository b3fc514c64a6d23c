"""Resolve the ids of campaigns, jobs and runs that an operator typed."""

from __future__ import annotations

from fleetmark_controller.store.db.reader import Reader
from fleetmark_controller.store.jobs import listings
from fleetmark_controller.store.results import runs
from fleetmark_core.errors import ErrorKind, FleetmarkError

_WHERE_TO_LOOK = {
    "campaign": "See `controller jobs list`",
    "job": "See `controller jobs list`",
    "run": "See `controller results list --runs`",
}


async def find_id(reader: Reader, kind: str, prefix: str) -> str:
    """Return the id of a campaign, job or run that begins with `prefix`.

    Args:
        reader: reads the store.
        kind: `campaign`, `job` or `run`.
        prefix: the beginning of an id; for a campaign also `last`, the newest one.

    Raises:
        FleetmarkError: NOT_FOUND, or USAGE when several ids begin with `prefix`.
    """
    look = (
        (lambda c: runs.find(c, prefix))
        if kind == "run"
        else (lambda c: listings.find(c, kind, prefix))
    )
    if kind == "campaign" and prefix == "last":
        look = listings.newest_campaign
    found = await reader.run(look)
    if not found:
        raise FleetmarkError(
            ErrorKind.NOT_FOUND, f"no {kind} {prefix!r}", next_step=_WHERE_TO_LOOK[kind]
        )
    if len(found) > 1:
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"{prefix!r} is ambiguous: several {kind}s begin with it",
            next_step="Give more characters of the id",
        )
    return found[0]
