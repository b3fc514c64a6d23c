"""Note about failed jobs, which a list of results would otherwise hide."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetmark_core.plural import counted

if TYPE_CHECKING:
    from fleetmark_controller.client.connection import Client


def failures_note(client: Client, campaign: str, selector: str, since: str) -> str:
    """Return the number of failed jobs and the command that shows the reasons; empty without any.

    Args:
        client: the connection to the controller.
        campaign: only jobs of this campaign; empty: of all.
        selector: only jobs of devices that match; empty: of all.
        since: only jobs that ended at or after this time, ISO 8601; empty: all.
    """
    from fleetmark_core.clock import parse_iso
    from fleetmark_protos.v1 import jobs_pb2

    request = jobs_pb2.ListJobsRequest(campaign_id=campaign, state="FAILED", selector=selector)
    begin_ns = parse_iso(since) if since else 0
    failed = sum(
        not job.retried_as and parse_iso(job.finished_at) >= begin_ns
        for job in client.call(client.jobs.ListJobs, request).jobs
        if job.finished_at
    )
    if not failed:
        return ""
    only = f" --campaign {campaign}" if campaign else ""
    only += f" --fleet '{selector}'" if selector else ""
    return f"{counted(failed, 'job')} failed: `controller jobs list --state FAILED{only}` says why"
