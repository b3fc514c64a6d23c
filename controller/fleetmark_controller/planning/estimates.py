"""How long jobs and campaigns may take: by earlier runs where there are any, else by profile."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fleetmark_core.modes import ACCURACY, FIND

FIND_LONGEST_MS, FIND_TESTS, FIND_SERVER_TESTS = 10_000.0, 3, 12
"""A search makes so many tests, as a rule, none longer than this."""
OVERHEAD_S = 5.0
"""What a profile does not count: preparing, loading, writing, handing over."""

Key = tuple[str, str]
"""Configuration key and mode."""


@dataclass(frozen=True)
class Earlier:
    """Mean seconds from assignment to end of earlier attempts that were done."""

    on_device: Mapping[tuple[Key, str], float] = field(default_factory=dict)
    anywhere: Mapping[Key, float] = field(default_factory=dict)

    def of(self, key: Key, devices: Iterable[str]) -> float | None:
        """On these devices, or else on any; None: it never ran."""
        known = [s for d in devices if (s := self.on_device.get((key, d))) is not None]
        return sum(known) / len(known) if known else self.anywhere.get(key)


@dataclass(frozen=True)
class Size:
    """How large a campaign is. Times are estimates, in seconds."""

    jobs: int = 0
    devices: int = 0
    longest_s: float = 0.0
    total_s: float = 0.0
    longest_device: str = ""
    by_earlier_runs: int = 0
    offline: tuple[str, ...] = ()
    """Names of the devices among them that are not online now."""


@dataclass(frozen=True)
class Expected:
    """One job of a plan: the devices that may run it, by name, and what it may take."""

    devices: tuple[str, ...]
    seconds: float
    by_earlier_runs: bool


def by_profile(profile: Mapping[str, Any], scenario: str, mode: str) -> float:
    """Seconds that a benchmark's profile asks for at least, and what is done around it."""
    milliseconds = float(profile.get("warmup_ms", 0)) + float(profile.get("calibration_ms", 0))
    if mode != ACCURACY:
        limits = profile.get(scenario)
        duration_ms = float(limits.get("min_duration_ms", 0)) if limits else 0.0
        if mode == FIND:
            duration_ms = min(duration_ms, FIND_LONGEST_MS)
            duration_ms *= FIND_SERVER_TESTS if scenario == "Server" else FIND_TESTS
        milliseconds += duration_ms
    return milliseconds / 1000 + OVERHEAD_S


def size_of(jobs: Iterable[Expected]) -> Size:
    """Boards work side by side, each on one job at a time; whoever may go anywhere is spread."""
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
        return Size()
    device = max(loads, key=lambda name: loads[name])
    # At best the spread jobs fill what the pinned ones leave free.
    longest_s = max(loads[device], (sum(loads.values()) + spread_s) / len(loads))
    named = device if loads[device] >= longest_s and loads[device] > 0 else ""
    return Size(count, len(loads), longest_s, total_s, named, earlier)


def left_s(
    expected_s: float | None, elapsed_s: float, phase: str, done: int, total: int
) -> float | None:
    """Seconds until a running job is done; None if there is nothing to go by.

    `elapsed_s` is since its assignment. While it measures (phase `run`), what it says itself is
    better than what was expected, once it is a good part through.
    """
    if phase == "run" and total > 0 and done * 4 >= total:
        return elapsed_s * max(0, total - done) / done
    return None if expected_s is None else max(0.0, expected_s - elapsed_s)
