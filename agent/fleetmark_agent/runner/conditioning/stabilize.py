"""Prepares the board for a stable run, and takes it all back: the shell around `cooling`."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetmark_agent.runner.conditioning import cooling
from fleetmark_agent.runner.conditioning.cooling import Cooling
from fleetmark_agent.runner.conditioning.cpufreq import Tuning, capacities
from fleetmark_agent.runner.context import Site
from fleetmark_agent.runner.telemetry.temperature import read_temperature
from fleetmark_core.lockfile import Lock
from fleetmark_core.order import Order
from fleetmark_core.repeat_bounds import bounds_of


@dataclass(frozen=True)
class Waited:
    """How long the board cooled, from what to what, and why no longer."""

    seconds: float
    first_c: float | None
    last_c: float | None
    why: Cooling


@dataclass(frozen=True)
class Settled:
    """What was done for a run. Without anything: a run that is not stable."""

    waited: Waited | None = None
    tuned: dict[str, Any] = field(default_factory=dict)
    cores: list[int] = field(default_factory=list)
    other_cores: list[int] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        """For the run's provenance."""
        waited = self.waited
        cool = {} if waited is None else {
            "waited_s": round(waited.seconds, 1),
            "before_c": waited.first_c,
            "start_c": waited.last_c,
            "began_because": waited.why.value,
        }  # fmt: skip
        return {**cool, **self.tuned, "cores": self.cores or None}

    def words(self) -> str:
        """For the attempt's events."""
        waited = self.waited
        why = "" if waited is None else f" after {waited.seconds:.0f} s: {waited.why.value}"
        governor = self.tuned.get("governor")
        return f"settled{why}{f'; governor {governor}' if governor else ''}"


async def until_cool(site: Site, lock: Lock) -> Waited:
    """Wait until the board is cool enough, or waiting is of no use."""
    bounds = bounds_of(lock.job.get("benchmark"))
    root = Path(site.settings.system_root)
    began = time.monotonic()
    looks: list[tuple[float, float | None]] = []
    while True:
        looks.append((time.monotonic() - began, read_temperature(root)))
        why = cooling.cooling(looks, bounds)
        if why is not Cooling.WAIT:
            return Waited(looks[-1][0], looks[0][1], looks[-1][1], why)
        await asyncio.sleep(cooling.LOOK_S)


def settle(site: Site, order: Order, waited: Waited) -> Settled:
    """Set the governor, and choose cores.

    Raises:
        OSError: what is set cannot be noted down, so that nothing was set.
    """
    root = Path(site.settings.system_root)
    tuned = Tuning(site.settings.home, root).apply()
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    threads = order.parameters.get("threads")
    cores = cooling.cores_for(allowed, capacities(root), threads if isinstance(threads, int) else 0)
    return Settled(waited, tuned, cores, cooling.others(allowed, cores))


def undo(site: Site) -> None:
    """Take back what was set for a run; nothing, if nothing was."""
    Tuning(site.settings.home, Path(site.settings.system_root)).undo()
