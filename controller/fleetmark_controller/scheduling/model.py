"""What a scheduler sees and says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

NS_PER_S = 1_000_000_000


@dataclass(frozen=True)
class Seen:
    """What presence says of a device now.

    `status` is online, suspect or offline; `rested_ns` is for how long it has been idle since its
    last job, None if it had none in this controller's life.
    """

    status: str = "online"
    idle: bool = True
    rested_ns: int | None = None
    refusals: int = 0
    """How many attempts it refused one after another, each worth another try."""


@dataclass(frozen=True)
class DeviceState:
    """All of a device that decides whether it gets a job."""

    device_id: str
    name: str
    seen: Seen = field(default_factory=Seen)
    busy_with: str = ""
    """Job of which it still has an attempt by the store, if any."""
    drained: bool = False
    drain_reason: str = ""
    reserved_for: str = ""
    reserved_until_ns: int = 0
    """By the wall clock; a reservation that is over counts no more."""
    failures: int = 0
    """Jobs that failed on it one after another; a success or a person sets it back."""
    locks: frozenset[str] = frozenset()
    """Locks whose blobs it was sent before."""
    sandbox: str = ""
    """Level that its jobs run in, as it says now; empty: it does not say."""


@dataclass(frozen=True)
class WaitingJob:
    """A queued job.

    `devices` are those on which it resolved, each with its lock; a pinned job has one.
    """

    job_id: str
    sequence: int
    priority: int
    devices: Mapping[str, str]
    created_ns: int = 0
    device_set: str = ""
    """Name of `devices`: jobs of one owner with the same name have the same. Empty: its own."""
    owner: str = ""
    """Who submitted it: a reserved board takes its holder's jobs only."""
    paused: bool = False
    tries_left: bool = True
    cool_down_ns: int = 0
    series: str = ""
    """Jobs of a series take turns on one board, with nothing else between them."""
    turn: int = 0
    min_sandbox: str = ""
    """Weakest level of the sandbox that it may run in; empty: any."""
    health_check: bool = False
    """It decides whether a quarantined board may return, so it may run there."""


@dataclass(frozen=True)
class Series:
    """How far a series is: the board that began it, and whether a job of it is out."""

    device_id: str = ""
    active: bool = False


@dataclass(frozen=True)
class Policy:
    """How a controller schedules; see its settings."""

    ageing_s: float = 600.0
    """One step of priority is worth this much waiting."""
    quarantine_after: int = 3
    """Failures in a row that quarantine a board; 0: never."""
    cool_down_s: float = 0.0
    """Least rest of a board between two jobs."""


@dataclass(frozen=True)
class View:
    """One moment of the fleet. Devices that are not among `devices` are not there."""

    waiting: Sequence[WaitingJob]
    devices: Mapping[str, DeviceState]
    now_unix_ns: int
    series: Mapping[str, Series] = field(default_factory=dict)
    blobs: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Of each lock: sha256 and size of every blob. A lock that is not named is worth nothing."""
    unsigned: Mapping[str, str] = field(default_factory=dict)
    """Locks that no release names, each with what is missing: no board would follow them."""
    unsignable: str = ""
    """Why no order can be signed at all; empty if one can."""


@dataclass(frozen=True)
class Assignment:
    """Run this job on this device."""

    job_id: str
    device_id: str


@dataclass(frozen=True)
class Plan:
    """What to run now, and why the rest waits."""

    assignments: list[Assignment]
    waits: dict[str, str]
    """Of every job that was looked at and not assigned: why, in words."""
    again_after_ns: int | None = None
    """When time alone will free a board: look again then."""


class Scheduler(Protocol):
    """Decides; does no I/O, has no clock but what it is given, and is deterministic."""

    @property
    def ageing_s(self) -> float:
        """How much waiting one step of priority is worth."""
        ...

    def plan(self, view: View) -> Plan:
        """At most one job per free device and one device per job."""
        ...
