"""The CPU governor of a stable run: which files must be changed. Nothing is changed here."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from fleetmark_agent.fingerprint import sysfs

WANTED = "performance"


@dataclass
class GovernorPlan:
    """Files to change, and why others stay.

    `settings` are tables with `path` (below the root), `before` and `set`. `refused` says which
    files the agent may not change; `unavailable` what the device does not offer.
    """

    settings: list[dict[str, str]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    unavailable: list[str] = field(default_factory=list)


def plan_governor(root: Path) -> GovernorPlan:
    """Return which governors are to be set to `WANTED` on the device below `root`."""
    plan = GovernorPlan()
    cpu = root / "sys/devices/system/cpu"
    policies = sorted(cpu.glob("cpufreq/policy[0-9]*")) or sorted(cpu.glob("cpu[0-9]*/cpufreq"))
    if not policies:
        plan.unavailable.append("governor: the device has no cpufreq")
    for policy in policies:
        path = policy / "scaling_governor"
        now = sysfs.text(path)
        choices = (sysfs.text(policy / "scaling_available_governors") or "").split()
        shown = path.relative_to(root).as_posix()
        if now is None or WANTED not in choices:
            plan.unavailable.append(f"governor: {shown} does not offer {WANTED}")
        elif now == WANTED:
            continue
        elif not os.access(path, os.W_OK):
            plan.refused.append(f"governor: {shown} may only be changed by root")
        else:
            plan.settings.append({"path": shown, "before": now, "set": WANTED})
    return plan
