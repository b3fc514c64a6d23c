"""SIGSTOP for longer than a lease, then SIGCONT."""

from __future__ import annotations

import random
import time

from tests.faults.harness import LEASE_S, FaultyFleet, fault, paused
from tests.support.processes import until

_LOST = r"lease expired: no contact with the device|lease expired device=device\d "


@fault("agent stopped for longer than its lease", logged=_LOST, duration_s=1.0)
def agent(fleet: FaultyFleet, chance: random.Random) -> None:
    time.sleep(chance.uniform(0, 1.5))
    with paused(fleet.children["device1"]):
        time.sleep(LEASE_S + chance.uniform(1, 2))


@fault("supervisor stopped for longer than a lease", logged="", duration_s=3.0)
def supervisor(fleet: FaultyFleet, chance: random.Random) -> None:
    """Stop the supervisor while the agent answers: no run is lost, no second job starts."""
    name, job_id, epoch = fleet.await_state("RUNNING")
    victim = fleet.devices[name].supervisor()
    assert victim is not None
    with paused(victim):
        time.sleep(LEASE_S + chance.uniform(0.5, 1.5))
        rows = fleet.query(
            "SELECT state FROM attempts WHERE job_id = ? AND epoch = ?", job_id, epoch
        )
        assert rows == [("RUNNING",)]


@fault("job stopped for longer than a lease", logged="", duration_s=3.0)
def job(fleet: FaultyFleet, chance: random.Random) -> None:
    name, *_ = fleet.await_state("RUNNING")
    until(fleet.devices[name].job, "the job's process", 5)
    victim = fleet.devices[name].job()
    assert victim is not None
    with paused(victim):
        time.sleep(LEASE_S + chance.uniform(0.5, 1.5))


@fault(
    "controller stopped for longer than a lease",
    logged=r"silent for longer|stream to the controller .* has ended",
)
def controller(fleet: FaultyFleet, chance: random.Random) -> None:
    time.sleep(chance.uniform(0, 1.5))
    with paused(fleet.children["controller"]):
        time.sleep(LEASE_S + chance.uniform(1.5, 2.5))


@fault("cancel racing the end of jobs", logged=r"cancelled", states=("SUCCEEDED", "CANCELLED"))
def cancel(fleet: FaultyFleet, chance: random.Random) -> None:
    fleet.await_state("RUNNING")
    time.sleep(chance.uniform(0, 0.45))
    campaign = fleet.query("SELECT campaign_id FROM campaigns")[0][0]
    fleet.over()
    assert fleet.run("campaign", "cancel", str(campaign)).returncode == 0
    until(fleet.ended, "the campaign's end", 20)
