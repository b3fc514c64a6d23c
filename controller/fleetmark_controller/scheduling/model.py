"""What a scheduler sees and says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class WaitingJob:
    """A queued job. `devices` are those on which it resolved; a pinned job has one."""

    job_id: str
    sequence: int
    priority: int
    devices: frozenset[str]


@dataclass(frozen=True)
class Assignment:
    """Run this job on this device."""

    job_id: str
    device_id: str


class Scheduler(Protocol):
    """Decides; does no I/O, has no clock but what it is given, and is deterministic."""

    def plan(
        self, waiting: Sequence[WaitingJob], free: Sequence[str], now_unix_ns: int
    ) -> list[Assignment]:
        """At most one job per free device and one device per job."""
        ...
