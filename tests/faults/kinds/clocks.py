"""Wall clocks that are wrong, or step. Monotonic clocks go on."""

from __future__ import annotations

import random
import time

from tests.faults.harness import AWAY, INJECT, FaultyFleet, fault
from tests.support.processes import until

_DAY_S = 86400.0


def _clock(fleet: FaultyFleet, name: str, offset_s: float) -> None:
    path = fleet.folder / f"{name}.clock"
    path.write_text(str(offset_s))
    fleet.extra[name] = {"PYTHONPATH": str(INJECT), "FAULT_CLOCK": str(path)}


@fault(
    "controller's clock steps",
    logged=r"clock stepped step_s=-?\d+ ",
    before=lambda fleet: _clock(fleet, "controller", 0),
)
def controller(fleet: FaultyFleet, chance: random.Random) -> None:
    """Step back and forth by up to three days; leases use the monotonic clock."""
    for _ in range(6):
        _clock(fleet, "controller", chance.uniform(-3, 3) * _DAY_S)
        time.sleep(chance.uniform(0.2, 0.6))
    assert not fleet.query("SELECT 1 FROM events WHERE kind = 'device.offline'")
    steps = "SELECT detail FROM audit WHERE action = 'clock.step' AND actor = 'controller'"
    until(lambda: fleet.query(steps), "the audit row of a clock step")


@fault(
    "controller's clock back over a restart",
    logged=AWAY,
    before=lambda fleet: _clock(fleet, "controller", 0),
)
def restarted(fleet: FaultyFleet, chance: random.Random) -> None:
    """Restart with a wrong clock; epochs still rise."""
    fleet.await_runs(1)
    fleet.kill("controller")
    before = fleet.query("SELECT max(epoch) FROM attempts")[0][0]
    _clock(fleet, "controller", -chance.uniform(1, 400) * _DAY_S)
    fleet.restart("controller")
    fleet.await_runs(6)
    newest = fleet.query("SELECT max(epoch) FROM attempts")[0][0]
    assert int(str(newest)) > int(str(before))


@fault(
    "agent's clock begins in 1970 and steps",
    logged=r"clock skew detected device=device\d offset_s=-\d+ ",
    before=lambda fleet: _clock(fleet, "device1", -time.time()),
)
def agent(fleet: FaultyFleet, chance: random.Random) -> None:
    for offset_s in (-time.time() + 60, chance.uniform(-9, 9) * _DAY_S, 0):
        time.sleep(chance.uniform(0.3, 1))
        _clock(fleet, "device1", offset_s)
    assert not fleet.query("SELECT 1 FROM events WHERE kind = 'device.offline'")
