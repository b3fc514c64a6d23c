"""First come, first served, higher priority first."""

from __future__ import annotations

from collections.abc import Sequence

from fleetmark_controller.scheduling.model import Assignment, WaitingJob


class FirstCome:
    """Gives each job, in order of priority and arrival, the first free device that fits."""

    def plan(
        self,
        waiting: Sequence[WaitingJob],
        free: Sequence[str],
        now_unix_ns: int,
    ) -> list[Assignment]:
        """See `Scheduler.plan`."""
        open_devices = dict.fromkeys(free)
        plan: list[Assignment] = []
        for job in sorted(waiting, key=lambda item: (-item.priority, item.sequence)):
            device = next((name for name in open_devices if name in job.devices), None)
            if device is not None:
                del open_devices[device]
                plan.append(Assignment(job.job_id, device))
            if not open_devices:
                break
        return plan
