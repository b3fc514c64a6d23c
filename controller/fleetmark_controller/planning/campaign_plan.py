"""The plan of a campaign: its jobs, what they need, how long they may take. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from fleetmark_catalog.load import Build
from fleetmark_catalog.resolve import Resolution
from fleetmark_controller.planning import estimates
from fleetmark_controller.planning.model import NewJob


@dataclass(frozen=True)
class PlannedJob:
    """A job with the values that are shown; the sizes are those of the device that needs most."""

    job: NewJob
    device: str
    bundle_bytes: int
    memory_bytes: int
    disk_bytes: int
    devices: tuple[str, ...] = ()
    """Names of the devices that may run the job."""
    memory_source: str = ""
    """Value of the `MemorySource` of `memory_bytes`."""


@dataclass
class CampaignPlan:
    """Jobs to store, their lockfiles, the sources of their blobs, and the devices left out.

    `matching` and `left_out` hold a device name and a reason each. A dry run explains every device;
    otherwise the devices that the selector does not match are not listed.
    """

    jobs: list[PlannedJob] = field(default_factory=list)
    matching: list[tuple[str, str]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    size: estimates.CampaignEstimate = field(default_factory=estimates.CampaignEstimate)
    resolutions: list[Resolution] = field(default_factory=list)
    locks: dict[str, bytes] = field(default_factory=dict)

    @property
    def builds(self) -> tuple[Build, ...]:
        """The wheels to build before the jobs can be stored.

        Until then their lockfiles are provisional.
        Each build is listed once, in the order of the resolutions.
        """
        return tuple(dict.fromkeys(b for found in self.resolutions for b in found.builds))


def estimated(
    plan: CampaignPlan, earlier: estimates.DurationHistory, online: Collection[str] | None = None
) -> CampaignPlan:
    """Return the plan with what each job and the whole may take, and who of it is not online.

    `online` are the ids of the devices that are connected now; None: not known.
    """
    jobs: list[PlannedJob] = []
    expected: list[estimates.JobEstimate] = []
    for planned in plan.jobs:
        job = planned.job
        key = (job.configuration_key, job.configuration["mode"])
        devices = [option.device_id for option in job.options]
        known = earlier.longest_s(key, devices)
        seconds = known if known is not None else job.expected_s or 0.0
        jobs.append(replace(planned, job=replace(job, expected_s=seconds)))
        names = tuple(planned.devices)
        expected.append(estimates.JobEstimate(names, seconds, known is not None))
    offline = {
        name
        for planned in jobs
        for name, option in zip(planned.devices, planned.job.options, strict=True)
        if online is not None and option.device_id not in online
    }
    size = replace(estimates.size_of(expected), offline=tuple(sorted(offline)))
    return replace(plan, jobs=jobs, size=size)
