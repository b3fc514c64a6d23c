"""Resolver of ids: an operator names an item by any part of its id, or by `last`."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.ids import short_ids

LAST = "last"
"""Keyword for the newest item of the first requested kind. Health checks do not count."""
SHORTEST_DEVICE_PART = 6
"""Minimum length of a part of a device's id, so that a mistyped name is not mistaken for one."""
_MAX_SHOWN = 5

_TABLES = {
    "campaign": ("campaign", "campaign_id", "benchmark || ', ' || created_at"),
    "job": (
        "job",
        "job_id",
        "label || ' on ' || coalesce((SELECT name FROM device"
        " WHERE device.device_id = job.device_id), 'any device') || ', ' || state",
    ),
    "run": (
        "run",
        "run_id",
        "coalesce(model, benchmark) || ' ' || scenario || ' ' || mode || ' on ' || device",
    ),
    "device": ("device", "device_id", "name"),
    "identity": (
        "(SELECT * FROM identity WHERE kind = 'device')",
        "identity_id",
        "name || ', ' || state",
    ),
    "token": ("token", "token_id", "'by ' || created_by || ', ' || created_at"),
}
"""By kind: the table or query, its id column, and an expression that describes an item."""

_NEWEST = {
    "campaign": "SELECT campaign_id FROM campaign WHERE purpose = '' ORDER BY rowid DESC LIMIT 1",
    # The most recently dispatched job of the newest campaign.
    "job": """SELECT job_id FROM job WHERE campaign_id = (SELECT campaign_id FROM campaign
        WHERE purpose = '' ORDER BY rowid DESC LIMIT 1)
        ORDER BY newest_epoch DESC, sequence DESC LIMIT 1""",
    "run": """SELECT run_id FROM run JOIN job USING (job_id, run_id)
        JOIN campaign USING (campaign_id) WHERE purpose = '' ORDER BY run.rowid DESC LIMIT 1""",
    "device": "SELECT device_id FROM device ORDER BY registered_at DESC, rowid DESC LIMIT 1",
    "token": "SELECT token_id FROM token ORDER BY created_at DESC, token_id DESC LIMIT 1",
}
_WHERE_TO_LOOK = {
    "campaign": "See `controller campaign list`",
    "job": "See `controller jobs list`",
    "run": "See `controller results list --runs`",
    "device": "See `controller fleet list`",
    "identity": "See `controller fleet list`",
    "token": "See `controller token list`",
}


_NAMES = {"identity": "device"}
"""By kind: its name in messages, where it differs."""


class Match(NamedTuple):
    """An item whose id contains the requested part."""

    kind: str
    item_id: str
    title: str


def resolve_id(connection: sqlite3.Connection, part: str, kinds: Sequence[str]) -> Match:
    """Return the one item whose id is `part`, or contains it.

    Args:
        connection: connection to the store.
        part: an id, any part of one in either case, or `last`. A leading `…` is ignored.
        kinds: the possible kinds: campaign, job, run, device, identity (of a device, also of a
            pending one), token. `last` is the newest item of the first kind.

    Raises:
        FleetmarkError: NOT_FOUND; USAGE with the candidates if several ids contain this part.
    """
    wanted = part.strip().removeprefix("…")
    if wanted == LAST and kinds[0] in _NEWEST:
        row = connection.execute(_NEWEST[kinds[0]]).fetchone()
        if row is None:
            raise _not_found_error(part, kinds[:1])
        return Match(kinds[0], row[0], "")
    for kind in kinds:
        table, column, _ = _TABLES[kind]
        query = f"SELECT {column} FROM {table} WHERE {column} = ?"  # noqa: S608 - no input
        row = connection.execute(query, (wanted,)).fetchone()
        if row is not None:
            return Match(kind, row[0], "")
    found = [match for kind in kinds for match in _containing(connection, kind, wanted)]
    if not wanted or not found:
        raise _not_found_error(part, kinds)
    if len(found) > 1:
        raise _ambiguous_error(part, found)
    return found[0]


def _containing(connection: sqlite3.Connection, kind: str, part: str) -> list[Match]:
    """Return items whose ids contain `part`, newest first, one more than are shown."""
    table, column, title = _TABLES[kind]
    rows = connection.execute(
        f"SELECT {column}, {title} FROM {table} WHERE instr(lower({column}), lower(?)) > 0"  # noqa: S608
        f" ORDER BY {column} DESC LIMIT ?",
        (part, _MAX_SHOWN + 1),
    )
    return [Match(kind, row[0], row[1]) for row in rows]


def _not_found_error(part: str, kinds: Sequence[str]) -> FleetmarkError:
    places = dict.fromkeys(_WHERE_TO_LOOK[kind] for kind in kinds)
    return FleetmarkError(
        ErrorKind.NOT_FOUND,
        f"no {' or '.join(_NAMES.get(kind, kind) for kind in kinds)} {part!r}",
        next_step=" and ".join(places),
    )


def _ambiguous_error(part: str, found: Sequence[Match]) -> FleetmarkError:
    short = short_ids(match.item_id for match in found)
    shown = "; ".join(
        f"{_NAMES.get(match.kind, match.kind)} {short[match.item_id]} ({match.title})"
        for match in found[:_MAX_SHOWN]
    )
    more = " and more" if len(found) > _MAX_SHOWN else ""
    kinds = " or ".join(
        f"{_NAMES.get(kind, kind)}s" for kind in dict.fromkeys(match.kind for match in found)
    )
    return FleetmarkError(
        ErrorKind.USAGE,
        f"several {kinds} have {part!r} in their ids: {shown}{more}",
        next_step="Give more of the id; the ends differ",
    )
