"""Lookup of the ids of campaigns, jobs and runs that an operator typed."""

from __future__ import annotations

from collections.abc import Sequence

from fleetmark_controller.store.db.reader import Reader
from fleetmark_controller.store.id_lookup import resolve_id
from fleetmark_core.errors import ErrorKind, FleetmarkError


async def find_id(reader: Reader, kind: str, part: str, among: Sequence[str] = ()) -> str:
    """Return the id of the campaign, job or run that `part` names.

    Args:
        reader: reads the store.
        kind: `campaign`, `job` or `run`.
        part: see `resolve_id`.
        among: kinds that the part may name where a command takes several; else `kind` alone.

    Raises:
        FleetmarkError: NOT_FOUND, also if the part names an item of another kind; USAGE if it is
            ambiguous.
    """
    found = await reader.run(lambda c: resolve_id(c, part, among or (kind,)))
    if found.kind != kind:
        raise FleetmarkError(
            ErrorKind.NOT_FOUND, f"no {kind} {part!r}", next_step=f"It is a {found.kind}"
        )
    return found.item_id
