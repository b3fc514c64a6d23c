"""Estimate how long jobs and campaigns take: from earlier runs if any, else by profile."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fleetmark_core.modes import ACCURACY, FIND

FIND_LONGEST_MS, FIND_TESTS, FIND_SERVER_TESTS = 10_000.0, 3, 12
"""Usual number of tests in a find-performance search (`FIND_SERVER_TESTS` in the Server scenario),
and the longest duration of one test.
"""
OVERHEAD_S = 5.0
"""Time that a profile does not contain: preparing, loading, writing, delivering the results."""

Key = tuple[str, str]
"""Configuration key and mode."""


@dataclass(frozen=True)
class DurationHistory:
    """Mean seconds from dispatch to end of earlier attempts that are done."""

    on_device: Mapping[tuple[Key, str], float] = field(default_factory=dict)
    anywhere: Mapping[Key, float] = field(default_factory=dict)

    def longest_s(self, key: Key, devices: Iterable[str]) -> float | None:
        """Return the mean over these devices, else over all; None if there is no earlier run."""
        known = [s for d in devices if (s := self.on_device.get((key, d))) is not None]
        return sum(known) / len(known) if known else self.anywhere.get(key)


@dataclass(frozen=True)
class CampaignEstimate:
    """The size of a campaign. Times are estimates in seconds."""

    jobs: int = 0
    devices: int = 0
    longest_s: float = 0.0
    total_s: float = 0.0
    longest_device: str = ""
    by_earlier_runs: int = 0
    offline: tuple[str, ...] = ()
    """Names of the devices among them that are not online now."""


@dataclass(frozen=True)
class JobEstimate:
    """One job of a plan: the names of the devices that may run it, and its expected duration."""

    devices: tuple[str, ...]
    seconds: float
    by_earlier_runs: bool


def by_profile(profile: Mapping[str, Any], scenario: str, mode: str) -> float:
    """Return the minimum duration in seconds that a benchmark's profile asks for, with overhead."""
    milliseconds = float(profile.get("warmup_ms", 0)) + float(profile.get("calibration_ms", 0))
    if mode != ACCURACY:
        limits = profile.get(scenario)
        duration_ms = float(limits.get("min_duration_ms", 0)) if limits else 0.0
        if mode == FIND:
            duration_ms = min(duration_ms, FIND_LONGEST_MS)
            duration_ms *= FIND_SERVER_TESTS if scenario == "Server" else FIND_TESTS
        milliseconds += duration_ms
    return milliseconds / 1000 + OVERHEAD_S


def size_of(jobs: Iterable[JobEstimate]) -> CampaignEstimate:
    """Return the size of a campaign.

    Devices run in parallel, each one job at a time. Jobs that several devices may run are spread
    evenly.
    """
    loads: dict[str, float] = {}
    spread_s, total_s, count, earlier = 0.0, 0.0, 0, 0
    for job in jobs:
        count += 1
        earlier += job.by_earlier_runs
        total_s += job.seconds
        for device in job.devices:
            loads.setdefault(device, 0.0)
        if len(job.devices) == 1:
            loads[job.devices[0]] += job.seconds
        else:
            spread_s += job.seconds
    if not loads:
        return CampaignEstimate()
    device = max(loads, key=lambda name: loads[name])
    # At best, the spread jobs fill the time that the pinned jobs leave free.
    longest_s = max(loads[device], (sum(loads.values()) + spread_s) / len(loads))
    named = device if loads[device] >= longest_s and loads[device] > 0 else ""
    return CampaignEstimate(count, len(loads), longest_s, total_s, named, earlier)


def left_s(
    expected_s: float | None, elapsed_s: float, phase: str, done: int, total: int
) -> float | None:
    """Return the seconds until a running job is done; None if there is no estimate.

    Args:
        expected_s: the expected duration of the job; None if unknown.
        elapsed_s: the time since its dispatch.
        phase: the phase that the device reports. In phase `run`, reported progress replaces the
            expectation once a quarter is done.
        done: the reported progress.
        total: the value of `done` at the end; 0 if unknown.
    """
    if phase == "run" and total > 0 and done * 4 >= total:
        return elapsed_s * max(0, total - done) / done
    return None if expected_s is None else max(0.0, expected_s - elapsed_s)
