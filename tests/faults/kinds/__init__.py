"""All kinds of faults: importing this module fills the registry.

Another kind is a function in one of these modules:

    @fault("agent killed while a job runs", logged=r"attempt resumed .*job=", duration_s=1.0)
    def agent_running(fleet: FaultyFleet, chance: random.Random) -> None:
        name, *_ = fleet.await_state("RUNNING")
        time.sleep(chance.uniform(0, 0.6))
        fleet.kill(name)
        fleet.restart(name)

Fleet, campaign, invariants and table are the harness's; see `harness.fault` for the options.

    REPEAT=20 FAULT_SEED=1 FAULT_TABLE=faults.md python -m pytest tests/faults -m faults -k agent
"""

from __future__ import annotations

from tests.faults.kinds import clocks as kind_clocks
from tests.faults.kinds import disks as kind_disks
from tests.faults.kinds import ends as kind_ends
from tests.faults.kinds import kills as kind_kills
from tests.faults.kinds import network as kind_network
from tests.faults.kinds import pauses as kind_pauses

__all__ = ["kind_clocks", "kind_disks", "kind_ends", "kind_kills", "kind_network", "kind_pauses"]
