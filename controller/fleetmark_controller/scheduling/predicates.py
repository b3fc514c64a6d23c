"""Wait reasons: why a device takes no job, or not a particular one, as text."""

from __future__ import annotations

from datetime import datetime, timezone

from fleetmark_controller.scheduling.model import NS_PER_S, DeviceState, Policy, WaitingJob
from fleetmark_core import sandbox_levels
from fleetmark_core.ids import SHORT_ID

_LONGEST_REST_S = 60


def admin_obstacle(device: DeviceState, policy: Policy) -> str:
    """Return what keeps the device from every job except a health check, or an empty string."""
    if device.drained:
        why = f" ({device.drain_reason})" if device.drain_reason else ""
        return f"is drained{why}"
    if quarantined(device, policy):
        return f"is quarantined: {device.failures} consecutive jobs failed on it"
    return ""


def presence(device: DeviceState) -> str:
    """Return what keeps the device from every job now; empty if it could start one at once."""
    if device.seen.status != "online":
        return "is offline" if device.seen.status == "offline" else "does not respond"
    if device.busy_with:
        return f"runs job {device.busy_with[-SHORT_ID:]}"
    if not device.seen.idle:
        return "has not reported idle yet"
    return ""


def quarantined(device: DeviceState, policy: Policy) -> bool:
    """Return whether enough jobs failed in a row to require a health check first."""
    return 0 < policy.quarantine_after <= device.failures


def reserved(device: DeviceState, now_unix_ns: int) -> bool:
    """Return whether the device is reserved now."""
    return bool(device.reserved_for) and now_unix_ns < device.reserved_until_ns


def for_job(device: DeviceState, job: WaitingJob, now_unix_ns: int, policy: Policy) -> str:
    """Return what keeps the device from this job, apart from presence; empty if nothing does.

    A health check runs despite quarantine, drain and reservation, because it ends a quarantine.
    """
    if not sandbox_levels.at_least(device.sandbox, job.min_sandbox):
        return weaker(device.sandbox, job.min_sandbox)
    if not job.health_check:
        obstacle = admin_obstacle(device, policy)
        if obstacle:
            return obstacle
        if reserved(device, now_unix_ns) and job.owner != device.reserved_for:
            until = _clock(device.reserved_until_ns)
            return f"is reserved for {device.reserved_for} until {until}"
    return ""


def weaker(level: str, wanted: str) -> str:
    """Return the wait reason for a device whose sandbox is too weak."""
    have = f"has sandbox level {level}" if level else "reports no sandbox level"
    return f"{have}, but the job requires {wanted} or a stronger one"


def cooling_ns(device: DeviceState, job: WaitingJob, policy: Policy) -> int:
    """Return how long the device must still rest before this job; 0 if it has rested enough."""
    if device.seen.rested_ns is None:
        return 0
    least_ns = max(job.cool_down_ns, int(policy.cool_down_s * NS_PER_S), _asked_again_ns(device))
    return max(0, least_ns - device.seen.rested_ns)


def cooling(device: DeviceState, left_ns: int) -> str:
    """Return the wait reason for a device that rests for another `left_ns`."""
    left_s = f"{max(1.0, left_ns / NS_PER_S):.0f} s"
    asked_again_ns = _asked_again_ns(device) - (device.seen.rested_ns or 0)
    if asked_again_ns < left_ns:
        return f"cools down for another {left_s}"
    last = "its last job" if device.seen.refusals == 1 else f"{device.seen.refusals} jobs in a row"
    return f"refused {last}: the next offer follows in {left_s}"


def _asked_again_ns(device: DeviceState) -> int:
    """Return the minimum rest after refusals; it doubles with each one, up to `_LONGEST_REST_S`.

    The cause of a refusal (such as a full disk) may last. Without this rest, a job would use up all
    its attempts within a moment.
    """
    refusals = device.seen.refusals
    return min(2 ** min(refusals, 30), _LONGEST_REST_S) * NS_PER_S if refusals else 0


def _clock(unix_ns: int) -> str:
    moment = datetime.fromtimestamp(unix_ns / NS_PER_S, timezone.utc)
    return moment.isoformat(timespec="minutes").replace("+00:00", "Z")
