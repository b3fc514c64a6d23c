"""The input and the result of a scheduler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

NS_PER_S = 1_000_000_000


@dataclass(frozen=True)
class PresenceSnapshot:
    """The presence of a device at one moment.

    `status` is online, suspect or offline. `rested_ns` is the time that the device has been idle
    since its last job; None if it has run no job since this controller started.
    """

    status: str = "online"
    idle: bool = True
    rested_ns: int | None = None
    refusals: int = 0
    """Number of consecutive attempts that the device refused for a retryable reason."""


@dataclass(frozen=True)
class DeviceState:
    """The state of a device that decides whether it gets a job."""

    device_id: str
    name: str
    seen: PresenceSnapshot = field(default_factory=PresenceSnapshot)
    busy_with: str = ""
    """Job of which the device still has an attempt according to the store; empty: none."""
    drained: bool = False
    drain_reason: str = ""
    reserved_for: str = ""
    reserved_until_ns: int = 0
    """By the wall clock. A reservation that is over has no effect."""
    failures: int = 0
    """Number of consecutive jobs that failed on the device. A success or an operator resets it."""
    locks: frozenset[str] = frozenset()
    """Lockfiles whose blobs were sent to the device before."""
    sandbox: str = ""
    """Sandbox level of the device's jobs, as last reported. Empty: not reported."""


@dataclass(frozen=True)
class WaitingJob:
    """A queued job.

    `devices` maps each device on which the job resolved to its lockfile; a pinned job has one
    device.
    """

    job_id: str
    sequence: int
    priority: int
    devices: Mapping[str, str]
    created_ns: int = 0
    device_set: str = ""
    """Key of `devices`: jobs of one owner with the same key have equal `devices`. Empty: the set
    belongs to this job alone.
    """
    owner: str = ""
    """The submitter. A reserved device accepts only jobs of the holder."""
    paused: bool = False
    tries_left: bool = True
    cool_down_ns: int = 0
    interleave_group: str = ""
    """Jobs of a group take turns on one device, with no other job between them."""
    interleave_index: int = 0
    min_sandbox: str = ""
    """Weakest sandbox level that the job may run in. Empty: any."""
    health_check: bool = False
    """The job decides whether a quarantined device may return, so it may run on that device."""


@dataclass(frozen=True)
class InterleaveGroup:
    """Progress of an interleave group.

    `device_id` is the device that began it; `active`: one of its jobs is active.
    """

    device_id: str = ""
    active: bool = False


@dataclass(frozen=True)
class Policy:
    """The scheduling settings of a controller."""

    ageing_s: float = 600.0
    """One step of priority equals this much waiting time."""
    quarantine_after: int = 3
    """Number of consecutive failures that quarantine a device. 0: never."""
    cool_down_s: float = 0.0
    """Minimum rest of a device between two jobs."""


@dataclass(frozen=True)
class SchedulerState:
    """A snapshot of the fleet. Devices that are not in `devices` count as gone."""

    waiting: Sequence[WaitingJob]
    devices: Mapping[str, DeviceState]
    now_unix_ns: int
    interleave_groups: Mapping[str, InterleaveGroup] = field(default_factory=dict)
    blobs: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """SHA-256 and size of every blob of each lockfile. An unlisted lockfile has no locality."""
    unsigned: Mapping[str, str] = field(default_factory=dict)
    """Lockfiles that the release does not contain, with what is missing. Devices reject them."""
    unsignable: str = ""
    """Reason why no order can be signed; empty if orders can be signed."""


@dataclass(frozen=True)
class Assignment:
    """The decision to run a job on a device."""

    job_id: str
    device_id: str


@dataclass(frozen=True)
class SchedulingPlan:
    """The jobs to run now, and the wait reasons of the others."""

    assignments: list[Assignment]
    waits: dict[str, str]
    """Wait reason of every job that was considered and not assigned."""
    again_after_ns: int | None = None
    """Time after which a device becomes free without an event; plan again then."""


class Scheduler(Protocol):
    """A deterministic scheduler without I/O that takes the time as input."""

    @property
    def ageing_s(self) -> float:
        """The waiting time in seconds that equals one step of priority."""
        ...

    def plan(self, view: SchedulerState) -> SchedulingPlan:
        """Assign at most one job to each free device, and each job to at most one device."""
        ...
