"""Planned campaigns, their jobs, and the devices that can run each job."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class NewCampaign:
    """A campaign as submitted by one `controller schedule`."""

    campaign_id: str
    benchmark: str
    selector: str
    profile: str
    request: dict[str, Any]
    submitted_by: str = ""
    purpose: str = ""
    cool_down_s: float = 0.0


@dataclass(frozen=True)
class JobOption:
    """A device on which a job can run, with its lockfile and the predicted resources.

    Memory is that of the job's process. Disk is for its unpacked environment and its output. Zero
    means that nothing was predicted. `min_sandbox` is the weakest sandbox level that the job may
    run in; empty: any.
    """

    device_id: str
    lock_sha256: str
    lock_bytes: int
    bundle_bytes: int
    memory_bytes: int = 0
    environment_bytes: int = 0
    output_bytes: int = 0
    min_sandbox: str = ""

    @property
    def disk_bytes(self) -> int:
        """The disk space that the job needs on a device that has none of its blobs yet."""
        return self.bundle_bytes + self.environment_bytes + self.output_bytes


@dataclass(frozen=True)
class NewJob:
    """One configuration, one repetition; pinned if it has a single option."""

    job_id: str
    label: str
    configuration: dict[str, Any]
    configuration_key: str
    repetition: int
    priority: int
    timeout_s: float
    deadline_at: str
    max_attempts: int
    options: tuple[JobOption, ...]
    interleave_group: str = ""
    """Jobs of a group run in turn, by `interleave_index`, on one device. Empty: no group."""
    interleave_index: int = 0
    expected_s: float | None = None
    """Expected duration, by earlier runs or by its profile."""
    option_set_id: str = ""
    """Key of the stored set that equals `options`; empty if it is not stored."""

    def restricted_to(self, option: JobOption) -> NewJob:
        """Return a copy for one device only. Its option set is not stored yet."""
        return replace(self, options=(option,), option_set_id="")
