"""Measuring facts in `agent doctor`: cores, CPU quota, temperature sensors, settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fleetmark_agent.fingerprint import cpu
from fleetmark_agent.fingerprint.cpu_quota import CpuQuota, tightest_quota
from fleetmark_agent.fingerprint.cpu_topology import Core, read_cores
from fleetmark_agent.fingerprint.thermal_sensors import choose_sensors, find_sensors
from fleetmark_agent.runner.conditioning.core_selection import CoreKind, core_kinds


@dataclass(frozen=True)
class MeasuringFacts:
    """Cores by kind, the fastest first; the tightest CPU quota; sensors of the SoC, and others.

    `stable_settings` says for each setting of a stable run to what it can be set, or why not.
    """

    usable_cores: int
    core_kinds: tuple[CoreKind, ...]
    cpu_quota: CpuQuota | None
    temperature_sensors: tuple[str, ...]
    left_out_sensors: dict[str, str]
    stable_settings: dict[str, str] = field(default_factory=dict)

    def fields(self) -> dict[str, object]:
        """Return the fields to display."""
        kinds = (f"{_ranges(kind.cores)} {kind.name}".strip() for kind in self.core_kinds)
        quota = self.cpu_quota
        return {
            "usable cores": self.usable_cores,
            "core kinds": "; ".join(kinds) or "unavailable",
            "CPU quota": "none" if quota is None else f"{quota.cores:g} cores, by {quota.group}",
            "temperature by": ", ".join(self.temperature_sensors) or "no sensor",
            **{f"stable {name}": text for name, text in self.stable_settings.items()},
        }


def examine_measuring(
    root: Path = Path("/"), stable_settings: Mapping[str, str] | None = None
) -> MeasuringFacts:
    """Read the facts that affect measurements on this device, below `root`.

    Args:
        root: the folder above the device's files.
        stable_settings: the settings of stable runs, see `Tuning.plans`.
    """
    cores = read_cores(root)
    if root == Path("/") and hasattr(os, "sched_getaffinity"):
        cores = {number: cores.get(number, Core(number)) for number in os.sched_getaffinity(0)}
    kinds = (
        CoreKind(kind[0].design, tuple(sorted(core.number for core in kind)))
        for kind in core_kinds(cores)
    )
    choice = choose_sensors(find_sensors(root))
    return MeasuringFacts(
        usable_cores=cpu.probe(root).usable_cores,
        core_kinds=tuple(kinds),
        cpu_quota=tightest_quota(root),
        temperature_sensors=tuple(sensor.name for sensor in choice.used),
        left_out_sensors=dict(choice.left_out),
        stable_settings=dict(stable_settings or {}),
    )


def _ranges(numbers: tuple[int, ...]) -> str:
    """Format numbers as the kernel does: `0-3,8`."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else f"{p[0]}" for p in parts)
