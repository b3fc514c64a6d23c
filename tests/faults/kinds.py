"""All kinds of faults: importing this module fills the registry.

Another kind is a function in one of these modules:

    @fault("agent killed while a job runs", told=r"taking up what was started", duration_s=1.0)
    def agent_running(fleet: FaultyFleet, chance: random.Random) -> None:
        name, *_ = fleet.await_state("RUNNING")
        time.sleep(chance.uniform(0, 0.6))
        fleet.kill(name)
        fleet.restart(name)

Fleet, campaign, invariants and table are the harness's; see `harness.fault` for the options.

    REPEAT=20 FAULT_SEED=1 FAULT_TABLE=faults.md python -m pytest tests/faults -m faults -k agent
"""

from __future__ import annotations

import kind_clocks
import kind_disks
import kind_ends
import kind_kills
import kind_network
import kind_pauses

__all__ = ["kind_clocks", "kind_disks", "kind_ends", "kind_kills", "kind_network", "kind_pauses"]
