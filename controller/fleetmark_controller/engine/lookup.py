"""Lookup of the ids of campaigns, jobs and runs that an operator typed."""

from __future__ import annotations

from fleetmark_controller.store.db.reader import Reader
from fleetmark_controller.store.id_lookup import resolve_id


async def find_id(reader: Reader, kind: str, part: str) -> str:
    """Return the id of the campaign, job or run that `part` names.

    Args:
        reader: reads the store.
        kind: `campaign`, `job` or `run`.
        part: see `resolve_id`.

    Raises:
        FleetmarkError: NOT_FOUND; USAGE if several ids contain this part.
    """
    found = await reader.run(lambda c: resolve_id(c, part, (kind,)))
    return found.item_id
