"""Campaigns: each is stored in one piece with its jobs, may be paused, and finishes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import Any

from fleetmark_controller.planning.model import NewCampaign, NewJob
from fleetmark_controller.store import events
from fleetmark_controller.store.jobs import jobs, lockfiles
from fleetmark_core.clock import iso

HEALTH_CHECK = "health check"
"""Purpose of a campaign that decides whether a quarantined device may return to service."""


def exists(connection: sqlite3.Connection, campaign_id: str) -> bool:
    """Return whether the campaign is stored, so that a repeated request changes nothing."""
    query = "SELECT 1 FROM campaign WHERE campaign_id = ?"
    return connection.execute(query, (campaign_id,)).fetchone() is not None


def is_unfinished(connection: sqlite3.Connection, campaign_id: str) -> bool:
    """Return whether the campaign is stored and has jobs that are not terminal."""
    query = "SELECT 1 FROM campaign WHERE campaign_id = ? AND finished_at IS NULL"
    return connection.execute(query, (campaign_id,)).fetchone() is not None


def is_health_check(connection: sqlite3.Connection, campaign_id: str) -> bool:
    """Return whether the campaign checks a quarantined device."""
    query = "SELECT purpose FROM campaign WHERE campaign_id = ?"
    row = connection.execute(query, (campaign_id,)).fetchone()
    return row is not None and row[0] == HEALTH_CHECK


def request_of(connection: sqlite3.Connection, campaign_id: str) -> dict[str, Any]:
    """Return the request of a campaign.

    Replays and recovered campaigns have no operator's request; their benchmark and profile are
    returned.
    """
    row = connection.execute(
        "SELECT request, benchmark, profile FROM campaign WHERE campaign_id = ?", (campaign_id,)
    ).fetchone()
    return {"benchmark": row[1], "profile": row[2], **json.loads(row[0])}


def add(
    connection: sqlite3.Connection,
    now_ns: int,
    campaign: NewCampaign,
    new_jobs: Iterable[NewJob],
    locks: dict[str, bytes],
) -> None:
    """Store a campaign with its jobs, all queued, and their lockfiles."""
    at = iso(now_ns)
    connection.execute(
        """INSERT INTO campaign (campaign_id, benchmark, selector, profile, request, created_at,
        submitted_by, purpose, cool_down_s) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            campaign.campaign_id,
            campaign.benchmark,
            campaign.selector,
            campaign.profile,
            json.dumps(campaign.request, ensure_ascii=False),
            at,
            campaign.submitted_by,
            campaign.purpose,
            campaign.cool_down_s,
        ),
    )
    lockfiles.add(connection, locks)
    jobs.add_jobs(connection, now_ns, campaign.campaign_id, new_jobs)
    events.add(connection, now_ns, "campaign.submitted", campaign=campaign.campaign_id)


def set_paused(connection: sqlite3.Connection, now_ns: int, campaign_id: str, pause: bool) -> None:
    """Pause a campaign or, with `pause` false, resume it."""
    connection.execute(
        "UPDATE campaign SET paused_at = ? WHERE campaign_id = ?",
        (iso(now_ns) if pause else None, campaign_id),
    )
    kind = "campaign.paused" if pause else "campaign.resumed"
    events.add(connection, now_ns, kind, campaign=campaign_id)


def states(connection: sqlite3.Connection, campaign_id: str) -> dict[str, int]:
    """Return how many of a campaign's jobs are in each state; retried jobs are not counted."""
    rows = connection.execute(
        "SELECT state, count(*) FROM job WHERE campaign_id = ? AND retried_as IS NULL"
        " GROUP BY state",
        (campaign_id,),
    )
    return {row[0]: row[1] for row in rows}
