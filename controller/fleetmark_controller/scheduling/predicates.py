"""Why a board takes no job, or not this one: in words, in the order in which people ask."""

from __future__ import annotations

from datetime import datetime, timezone

from fleetmark_controller.scheduling.model import NS_PER_S, DeviceState, Policy, WaitingJob
from fleetmark_core import sandbox_levels
from fleetmark_core.ids import SHORT_ID

_LONGEST_REST_S = 60


def standing(device: DeviceState, policy: Policy) -> str:
    """What keeps the board from any job but a health check; empty if nothing does."""
    if device.drained:
        why = f" ({device.drain_reason})" if device.drain_reason else ""
        return f"is drained{why}"
    if quarantined(device, policy):
        return f"is quarantined: {device.failures} jobs failed on it one after another"
    return ""


def presence(device: DeviceState) -> str:
    """What keeps the board from every job just now; empty if it could begin at once."""
    if device.seen.status != "online":
        return "is offline" if device.seen.status == "offline" else "does not answer just now"
    if device.busy_with:
        return f"runs job {device.busy_with[-SHORT_ID:]}"
    if not device.seen.idle:
        return "has not reported idle yet"
    return ""


def quarantined(device: DeviceState, policy: Policy) -> bool:
    """Whether so many jobs failed on the board that it must prove itself first."""
    return 0 < policy.quarantine_after <= device.failures


def reserved(device: DeviceState, now_unix_ns: int) -> bool:
    """Whether somebody holds the board now."""
    return bool(device.reserved_for) and now_unix_ns < device.reserved_until_ns


def for_job(device: DeviceState, job: WaitingJob, now_unix_ns: int, policy: Policy) -> str:
    """What keeps the board from this job, other than presence; empty if nothing does.

    A health check runs in spite of quarantine, drain and reservation: it is the way back.
    """
    if not sandbox_levels.at_least(device.sandbox, job.min_sandbox):
        return weaker(device.sandbox, job.min_sandbox)
    if not job.health_check:
        obstacle = standing(device, policy)
        if obstacle:
            return obstacle
        if reserved(device, now_unix_ns) and job.owner != device.reserved_for:
            until = _clock(device.reserved_until_ns)
            return f"is reserved for {device.reserved_for} until {until}"
    return ""


def weaker(level: str, wanted: str) -> str:
    """That a board's sandbox does not do."""
    have = f"the sandbox {level}" if level else "no sandbox that it tells of"
    return f"has {have}, the job wants {wanted} or a stronger one"


def cooling_ns(device: DeviceState, job: WaitingJob, policy: Policy) -> int:
    """For how long the board must still rest before this job; 0: it is rested."""
    if device.seen.rested_ns is None:
        return 0
    least_ns = max(job.cool_down_ns, int(policy.cool_down_s * NS_PER_S), _asked_again_ns(device))
    return max(0, least_ns - device.seen.rested_ns)


def cooling(device: DeviceState, left_ns: int) -> str:
    """Why the board rests for `left_ns` more, in words."""
    left_s = f"{max(1.0, left_ns / NS_PER_S):.0f} s"
    asked_again_ns = _asked_again_ns(device) - (device.seen.rested_ns or 0)
    if asked_again_ns < left_ns:
        return f"cools down for {left_s} more"
    last = "its last job" if device.seen.refusals == 1 else f"{device.seen.refusals} jobs in a row"
    return f"refused {last}: it is asked again in {left_s}"


def _asked_again_ns(device: DeviceState) -> int:
    """Least rest after refusals: what kept the board from its job (a full disk) may last.

    Without it all attempts of a job would be gone within a moment.
    """
    refusals = device.seen.refusals
    return min(2 ** min(refusals, 30), _LONGEST_REST_S) * NS_PER_S if refusals else 0


def _clock(unix_ns: int) -> str:
    moment = datetime.fromtimestamp(unix_ns / NS_PER_S, timezone.utc)
    return moment.isoformat(timespec="minutes").replace("+00:00", "Z")
