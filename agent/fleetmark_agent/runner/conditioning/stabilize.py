"""Preparation of the device for a stable run, and its reversal. Decisions are in other modules."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetmark_agent.errors import Refusal
from fleetmark_agent.fingerprint.cpu_quota import tightest_quota
from fleetmark_agent.fingerprint.cpu_topology import read_cores
from fleetmark_agent.fingerprint.thermal_sensors import hottest_c, stuck_sensors
from fleetmark_agent.runner.conditioning import cooling
from fleetmark_agent.runner.conditioning.cooling import CooldownDecision
from fleetmark_agent.runner.conditioning.core_selection import (
    CoreChoice,
    choose_cores,
    other_cores,
)
from fleetmark_agent.runner.conditioning.start_limit import StartDecision, StartLimit
from fleetmark_agent.runner.conditioning.tuning import JOURNAL, Tuning
from fleetmark_agent.runner.context import RunnerContext
from fleetmark_agent.runner.telemetry.temperature import Thermometer
from fleetmark_core.failure_cause import FailureCause
from fleetmark_core.lockfile import Lockfile
from fleetmark_core.order import Order
from fleetmark_core.repeat_bounds import bounds_of


@dataclass(frozen=True)
class CooldownResult:
    """Time and temperatures of the cooldown, and the reason why it ended.

    `stuck` names the sensors that never changed meanwhile, with the reason; they do not count.
    """

    seconds: float
    first_c: float | None
    last_c: float | None
    why: CooldownDecision
    stuck: dict[str, str] = field(default_factory=dict)

    def as_provenance(self) -> dict[str, Any]:
        """Return the wait for the run's provenance."""
        return {
            "waited_s": round(self.seconds, 1),
            "before_c": self.first_c,
            "start_c": self.last_c,
            "began_because": self.why.value,
            "stuck_sensors": self.stuck,
        }


@dataclass(frozen=True)
class RunConditions:
    """Settings and waits that were applied for a run; empty for a run that is not stable."""

    waited: CooldownResult | None = None
    tuned: dict[str, Any] = field(default_factory=dict)
    choice: CoreChoice | None = None
    other_cores: list[int] = field(default_factory=list)

    @property
    def cores(self) -> list[int]:
        """Return the cores of the job; empty for any."""
        return [] if self.choice is None else self.choice.cores

    def as_provenance(self) -> dict[str, Any]:
        """Return the conditions for the run's provenance."""
        waited = self.waited
        cool = {} if waited is None else waited.as_provenance()
        chosen: dict[str, Any] = {"cores": self.cores or None}
        if self.choice is not None:
            chosen["cores_because"] = self.choice.why
            chosen["core_kinds"] = [
                {"kind": kind.name or None, "cores": list(kind.cores)} for kind in self.choice.kinds
            ]
        return {**cool, **self.tuned, **chosen}

    def words(self) -> str:
        """Return one line of text for the attempt's events."""
        waited = self.waited
        why = "" if waited is None else f" after {waited.seconds:.0f} s: {waited.why.value}"
        made = self.tuned.get("settings", ())
        set_to = dict.fromkeys(f"; {one['name']} {one['set']}" for one in made)
        return f"settled{why}{''.join(set_to)}"


async def until_below(
    site: RunnerContext, below_c: float, report: Callable[[int, int], None]
) -> CooldownResult:
    """Wait until the hottest trusted sensor is below `below_c`.

    Args:
        site: what all attempts on the device share; its settings have the longest wait.
        below_c: the limit in °C.
        report: called with the seconds waited and the longest wait.

    Raises:
        Refusal: no trusted sensor gives a reading, or it was waited for long enough.
    """
    limit = StartLimit(below_c, site.settings.start_wait_s)
    thermometer = Thermometer(Path(site.settings.system_root))
    began, first_c = time.monotonic(), None
    while True:
        now_s, readings = time.monotonic(), thermometer.read()
        site.thermometer.history.add(now_s, readings)
        stuck = site.thermometer.history.stuck()
        if set(stuck) >= set(readings):
            # At least one sensor must remain.
            stuck = {}
        now_c = hottest_c(readings, stuck)
        first_c = now_c if first_c is None else first_c
        decision = limit.decide(now_s - began, now_c)
        if decision is StartDecision.START:
            return CooldownResult(now_s - began, first_c, now_c, CooldownDecision.BELOW, stuck)
        if decision is not StartDecision.WAIT:
            raise Refusal(
                limit.refusal(decision, now_s - began, now_c),
                # It may be cooler later; a device without a sensor does not get one.
                retryable=decision is StartDecision.TOO_HOT,
                cause=FailureCause.JOB,
            )
        report(int(now_s - began), int(limit.wait_s))
        await asyncio.sleep(cooling.LOOK_S)


async def until_cool(site: RunnerContext, lock: Lockfile) -> CooldownResult:
    """Wait until the device is cool enough or further waiting is useless."""
    bounds = bounds_of(lock.job.get("benchmark"))
    root = Path(site.settings.system_root)
    thermometer = Thermometer(root)
    began = time.monotonic()
    looks: list[tuple[float, dict[str, float | None]]] = []
    history = site.thermometer.history
    while True:
        now_s, readings = time.monotonic(), thermometer.read()
        history.add(now_s, readings)
        looks.append((now_s - began, readings))
        stuck = history.stuck() | stuck_sensors(looks)
        if set(stuck) >= set(readings):
            # At least one sensor must remain. If others changed before, they show that these are
            # stuck.
            stuck = {}
        hottest = [(at_s, hottest_c(readings, stuck)) for at_s, readings in looks]
        why = cooling.cooling(hottest, bounds)
        if why is not CooldownDecision.WAIT:
            return CooldownResult(hottest[-1][0], hottest[0][1], hottest[-1][1], why, stuck)
        await asyncio.sleep(cooling.LOOK_S)


async def apply_conditions(
    site: RunnerContext, order: Order, waited: CooldownResult
) -> RunConditions:
    """Make the settings and choose the cores. Programs may be run, for seconds.

    If the caller is cancelled, this ends only when the settings are made, so that they can be
    restored.

    Raises:
        OSError: the journal cannot be written; what was changed before is in it.
    """
    settings = site.settings
    root = Path(settings.system_root)
    tuning = Tuning(settings.home, root, settings.stable_settings, settings.nvpmodel_mode)
    making = asyncio.create_task(asyncio.to_thread(tuning.apply))
    try:
        tuned = await asyncio.shield(making)
    except asyncio.CancelledError:
        await asyncio.wait({making})
        raise
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    threads = order.parameters.get("threads")
    cores = read_cores(root)
    choice = choose_cores(
        cores, allowed, threads if isinstance(threads, int) else 0, tightest_quota(root)
    )
    return RunConditions(waited, tuned, choice, other_cores(allowed, choice, cores))


async def undo(site: RunnerContext) -> None:
    """Restore the settings that were changed for a run, if any. Programs may be run, for seconds.

    Once begun, they are restored even if the caller is cancelled.
    """
    if (site.settings.home / JOURNAL).exists():
        tuning = Tuning(site.settings.home, Path(site.settings.system_root))
        await asyncio.to_thread(tuning.undo)
