"""What is planned: campaigns, their jobs, and the devices that can run each job."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class NewCampaign:
    """What one `controller schedule` submits."""

    campaign_id: str
    benchmark: str
    selector: str
    profile: str
    request: dict[str, Any]
    submitted_by: str = ""
    purpose: str = ""
    cool_down_s: float = 0.0


@dataclass(frozen=True)
class Option:
    """A device on which a job can run, with the lock for it and what it is predicted to need.

    Memory of the job's process; disk for its unpacked environment and for what it writes. Zero:
    nothing was predicted. `min_sandbox` is the weakest level that it may run in; empty: any.
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
        """Disk that a board needs which has nothing of it yet."""
        return self.bundle_bytes + self.environment_bytes + self.output_bytes


@dataclass(frozen=True)
class NewJob:
    """One configuration, one repetition; pinned if it has one option."""

    job_id: str
    label: str
    configuration: dict[str, Any]
    configuration_key: str
    repetition: int
    priority: int
    timeout_s: float
    deadline_at: str
    max_attempts: int
    options: tuple[Option, ...]
    series: str = ""
    """Jobs of a series run in turn on one board."""
    turn: int = 0
    expected_s: float | None = None
    """How long it may take, by earlier runs or its profile."""
    option_set: str = ""
    """The set of these very options that is stored already, if one is."""

    def only_with(self, option: Option) -> NewJob:
        """The same for one board alone, which no stored set has."""
        return replace(self, options=(option,), option_set="")
