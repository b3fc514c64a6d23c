"""Planning time of the scheduler: `bench/schedule.py [--jobs 10000] [--devices 1000]`.

It plans three mixes of waiting jobs on a fleet that is partly unavailable: pinned jobs, jobs that
any device may run, and interleaved series. Each mix is planned once without history, with every
available device free, and once with every device busy, where only the wait reasons remain to be
found. The last figure is the ratio of twice the jobs to once: 2 is linear. Then the same is
measured on a real store, including all reads and writes: submitting the jobs, dispatching one to
every device, and finding the wait reasons of the others.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fleetmark_controller.planning.model import JobOption, NewCampaign, NewJob
from fleetmark_controller.scheduling.model import (
    DeviceState,
    InterleaveGroup,
    PresenceSnapshot,
    SchedulerState,
    WaitingJob,
)
from fleetmark_controller.scheduling.planner import Planner

ROOT = Path(__file__).parent.parent
S = 1_000_000_000
NOW = 2_000_000_000 * S
LOCKS = 40
BLOBS = {f"lock{n}": {f"blob{n}-{m}": 1000 * m for m in range(20)} for n in range(LOCKS)}


def fleet(count: int, dice: random.Random, busy: bool) -> dict[str, DeviceState]:
    """Return devices of which a tenth is unavailable in some way."""
    found = {}
    for number in range(count):
        broken = dice.random() < 0.1
        kind = dice.choice(["drained", "offline", "reserved", "quarantined"]) if broken else ""
        found[f"d{number}"] = DeviceState(
            device_id=f"d{number}",
            name=f"bench-{number}",
            seen=PresenceSnapshot("offline", False) if kind == "offline" else PresenceSnapshot(),
            busy_with="job" if busy else "",
            drained=kind == "drained",
            reserved_for="anna" if kind == "reserved" else "",
            reserved_until_ns=NOW + S,
            failures=3 if kind == "quarantined" else 0,
            locks=frozenset(dice.sample(list(BLOBS), 3)),
        )
    return found


def job(
    number: int,
    devices: dict[str, str],
    dice: random.Random,
    interleave_group: str = "",
    device_set: str = "",
) -> WaitingJob:
    """Return one waiting job."""
    return WaitingJob(
        f"job{number}",
        number,
        dice.randint(-5, 5),
        devices,
        NOW - dice.randint(0, 10_000) * S,
        device_set,
        dice.choice(["anna", "ben"]),
        interleave_group=interleave_group,
        interleave_index=number,
    )


Mix = tuple[list[WaitingJob], dict[str, InterleaveGroup]]
"""Waiting jobs, and the series among them that have begun."""


def pinned(count: int, devices: int, dice: random.Random) -> Mix:
    """Return jobs that are each pinned to one device."""
    jobs = [job(n, {f"d{n % devices}": f"lock{n % LOCKS}"}, dice) for n in range(count)]
    return jobs, {}


def anywhere(count: int, devices: int, dice: random.Random) -> Mix:
    """Return jobs for any device, in as many configurations as there are lockfiles."""
    options = [{f"d{n}": f"lock{k}" for n in range(devices)} for k in range(LOCKS)]
    return [
        job(n, options[n % LOCKS], dice, device_set=f"set{n % LOCKS}") for n in range(count)
    ], {}


def series(count: int, devices: int, dice: random.Random) -> Mix:
    """Return jobs of interleaved A/B series on every device; half of the series have begun."""
    jobs = [
        job(n, {f"d{n % devices}": f"lock{n % LOCKS}"}, dice, f"s{n % devices}")
        for n in range(count)
    ]
    begun = {f"s{n}": InterleaveGroup(f"d{n}" if n % 2 else "") for n in range(devices)}
    return jobs, begun


MIXES: dict[str, Callable[[int, int, random.Random], Mix]] = {
    "pinned": pinned,
    "any": anywhere,
    "series": series,
}


def planned(mix: str, jobs: int, devices: int, busy: bool) -> tuple[float, int]:
    """Plan once; return the CPU seconds and the number of assigned jobs."""
    dice = random.Random(7)
    presences = fleet(devices, dice, busy)
    waiting, begun = MIXES[mix](jobs, devices, dice)
    view = SchedulerState(waiting, presences, NOW, begun, BLOBS)
    began = time.process_time()
    plan = Planner().plan(view)
    spent = time.process_time() - began
    assert len(plan.assignments) + len(plan.waits) == jobs, "each job runs or says why it waits"
    return spent, len(plan.assignments)


def from_store(mix: str, count: int, devices: int, folder: Path) -> dict[str, float]:
    """Return the CPU seconds of one round of the scheduler on a store."""
    sys.path.insert(0, str(ROOT))
    from tests.support.stores import LOCK, TestStore

    from fleetmark_controller.operations import campaigns, dispatch

    store = TestStore(folder / f"{mix}.db", _facts())
    names = [f"d{number}" for number in range(devices)]
    for name in names:
        store.hello(name)
    each = [(JobOption(name, LOCK, 1, 1),) for name in names]
    every = tuple(option for (option,) in each)
    values = {"scenario": "S", "mode": "m", "profile": "quick", "parameters": {}}
    new = [
        NewJob(
            *(f"job{number}", "label", values, "key", 1, number % 5, 60.0),
            *("2099-01-01T00:00:00.000Z", 3),
            options=every if mix == "any" else each[number % devices],
        )
        for number in range(count)
    ]
    campaign = NewCampaign("c", "b", "", "quick", {})
    seen = {name: PresenceSnapshot() for name in names}
    planner = Planner()
    spent = {}

    def timed(what: str, operation: Any) -> Any:
        began = time.process_time()
        result = store.effects_of(operation)
        spent[f"{what}_cpu_s"] = round(time.process_time() - began, 3)
        return result

    timed("submit", lambda c, fx, now: campaigns.submit(c, fx, now, campaign, new, {LOCK: b"{}"}))
    _, effects = timed(
        "assign", lambda c, fx, now: dispatch.dispatch_jobs(c, fx, now, seen, planner)
    )
    assert len(effects.offers) == min(devices, count), "every device gets a job"
    waits, _ = timed("reasons", lambda c, fx, now: dispatch.waits(c, now, seen, planner))
    assert len(waits) == count - len(effects.offers), "each other says why it waits"
    return spent


def _facts() -> Any:
    from fleetmark_core.capabilities import Board, Capabilities, Cpu, Memory, Os, Storage

    system = Os("linux", "Debian GNU/Linux", "12", "6.1.0")
    return Capabilities(system, "x86_64", Board(), Cpu(2, 2), Memory(1, 1), Storage(1, 1))


def main() -> int:
    """Measure and print; return 1 if planning took longer than the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--devices", type=int, default=1_000)
    parser.add_argument("--limit-s", type=float, default=1.0)
    given = parser.parse_args()
    figures: dict[str, object] = {"jobs": given.jobs, "devices": given.devices}
    worst = 0.0
    for mix in MIXES:
        for busy in (False, True):
            spent, assigned = planned(mix, given.jobs, given.devices, busy)
            double, _ = planned(mix, 2 * given.jobs, given.devices, busy)
            worst = max(worst, spent)
            figures[f"{mix}{' all busy' if busy else ''}"] = {
                "plan_cpu_s": round(spent, 3),
                "assigned": assigned,
                "ratio_of_twice_the_jobs": round(double / spent, 2),
            }
    with tempfile.TemporaryDirectory(prefix="fleetmark-bench-") as scratch:
        for mix in ("pinned", "any"):
            stored = from_store(mix, given.jobs, given.devices, Path(scratch))
            worst = max(worst, stored["assign_cpu_s"])
            figures[f"{mix} from the store"] = stored
    print(json.dumps({**figures, "limit_s": given.limit_s}, indent=2))
    return 0 if worst < given.limit_s else 1


if __name__ == "__main__":
    sys.exit(main())
