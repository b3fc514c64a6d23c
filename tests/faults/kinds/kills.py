"""SIGKILL, at random moments and at named points."""

from __future__ import annotations

import random
import time

import psutil

from tests.faults.harness import AWAY, LEASE_S, FaultyFleet, fault
from tests.support.processes import until

_GONE = r"device disconnected device=device\d "


@fault("agent killed at a random moment", logged=_GONE)
def agent(fleet: FaultyFleet, chance: random.Random) -> None:
    time.sleep(chance.uniform(0, 2))
    fleet.kill("device1")
    fleet.restart("device1")


@fault("agent killed while it prepares", logged=_GONE, duration_s=0.3)
def agent_preparing(fleet: FaultyFleet, chance: random.Random) -> None:
    name, *_ = fleet.await_state("PREPARING")
    time.sleep(chance.uniform(0, 0.1))
    fleet.kill(name)
    fleet.restart(name)


@fault("agent killed while a job runs", logged=r"attempt resumed .*job=", duration_s=1.0)
def agent_running(fleet: FaultyFleet, chance: random.Random) -> None:
    name, *_ = fleet.await_state("RUNNING")
    time.sleep(chance.uniform(0, 0.6))
    fleet.kill(name)
    fleet.restart(name)


@fault("agent killed while it uploads", logged=_GONE, ballast_kib=4096)
def agent_uploading(fleet: FaultyFleet, chance: random.Random) -> None:
    """Kill an agent whose job has ended: the result is stored within 15 s of its restart."""
    for device in fleet.devices.values():
        device.wire.slow(4e6)
    name, job_id, epoch = fleet.await_state("UPLOADING")
    time.sleep(chance.uniform(0, 1))
    fleet.kill(name)
    for device in fleet.devices.values():
        device.wire.slow(0)
    fleet.over()
    began = time.monotonic()
    fleet.restart(name)
    wanted = "SELECT 1 FROM runs WHERE job_id = ? AND epoch = ?"
    until(lambda: fleet.query(wanted, job_id, epoch), "the finished run's result", 15)
    fleet.measured["result after restart"] = time.monotonic() - began


@fault(
    "agent killed for good, jobs for any device",
    logged=r"lease expired: no contact with the device",
    duration_s=2.0,
    jobs=4,
)
def agent_gone(fleet: FaultyFleet, chance: random.Random) -> None:
    """Expect a new assignment within the lease and 5 s. The device returns much later."""
    name, job_id, epoch = fleet.await_state("RUNNING")
    time.sleep(chance.uniform(0, 0.5))
    fleet.kill_device(name)
    fleet.over()
    began = time.monotonic()
    newer = "SELECT 1 FROM attempts WHERE job_id = ? AND epoch > ?"
    until(lambda: fleet.query(newer, job_id, epoch), "another assignment", LEASE_S + 5)
    fleet.measured["assigned again"] = time.monotonic() - began
    until(fleet.ended, "the other device to finish")
    fleet.spawn_agent(name)
    fleet.await_agent(name)


@fault("supervisor killed", logged=r"supervisor was killed", duration_s=1.0)
def supervisor(fleet: FaultyFleet, chance: random.Random) -> None:
    name, *_ = fleet.await_state("RUNNING")
    time.sleep(chance.uniform(0, 0.6))
    victim = fleet.devices[name].supervisor()
    fleet.strike_job(name)
    if victim is not None:
        victim.kill()


@fault("job killed", logged=r"killed by SIGKILL", duration_s=3.0)
def job(fleet: FaultyFleet, chance: random.Random) -> None:
    name, *_ = fleet.await_state("RUNNING")
    time.sleep(chance.uniform(0, 0.6))

    def kill() -> bool:
        victim = fleet.devices[name].job()
        if victim is None:
            return False  # a job has just ended; another one begins
        fleet.strike_job(name)
        try:
            victim.kill()
        except psutil.NoSuchProcess:
            return False
        return True

    until(kill, "a job to kill")


@fault(
    "power cut of a device",
    logged=r"reconnected without this attempt|supervisor was killed|disconnected device=device1 ",
    duration_s=1.0,
)
def device(fleet: FaultyFleet, chance: random.Random) -> None:
    time.sleep(chance.uniform(0, 2))
    fleet.kill_device("device1")
    time.sleep(chance.uniform(0, 1))
    fleet.restart("device1")


def _restart_controller(fleet: FaultyFleet) -> None:
    took_s = fleet.restart("controller")
    assert took_s < 10, f"the controller served after {took_s:.1f} s"
    fleet.measured["serves again"] = took_s


@fault("controller killed at a random moment", logged=AWAY)
def controller(fleet: FaultyFleet, chance: random.Random) -> None:
    time.sleep(chance.uniform(0, 2))
    fleet.kill("controller")
    time.sleep(chance.uniform(0, 1))
    _restart_controller(fleet)


@fault("controller killed while jobs run", logged=AWAY, duration_s=6, jobs=2)
def controller_running(fleet: FaultyFleet, chance: random.Random) -> None:
    """Expect undisturbed runs: no second attempt of either job."""
    until(lambda: len(fleet.query("SELECT 1 FROM attempts WHERE state = 'RUNNING'")) == 2, "runs")
    time.sleep(chance.uniform(0, 1))
    fleet.kill("controller")
    time.sleep(chance.uniform(0, 1))
    _restart_controller(fleet)
    until(fleet.ended, "the runs' end")
    assert fleet.query("SELECT max(attempts) FROM jobs") == [(1,)], "a run was disturbed"


@fault(
    "controller killed while it receives", logged=r"results not uploaded .*job=", ballast_kib=4096
)
def controller_receiving(fleet: FaultyFleet, chance: random.Random) -> None:
    for line in fleet.devices.values():
        line.wire.slow(4e6)
    fleet.await_state("UPLOADING")
    time.sleep(chance.uniform(0, 0.8))
    fleet.kill("controller")
    for line in fleet.devices.values():
        line.wire.slow(0)
    _restart_controller(fleet)


@fault("controller killed while it verifies", logged=AWAY, duration_s=0.1)
def controller_verifying(fleet: FaultyFleet, chance: random.Random) -> None:
    fleet.await_state("VERIFYING")
    time.sleep(chance.uniform(0, 0.15))
    fleet.kill("controller")
    _restart_controller(fleet)


@fault(
    "controller and agent killed together",
    logged=rf"{AWAY}|attempt resumed|reconnected without this attempt|device disconnected",
)
def both(fleet: FaultyFleet, chance: random.Random) -> None:
    time.sleep(chance.uniform(0, 2))
    first, second = chance.sample(["controller", "device1"], 2)
    fleet.kill(first)
    time.sleep(chance.uniform(0, 0.3))
    fleet.kill(second)
    first, second = chance.sample(["controller", "device1"], 2)
    if first == "device1":
        fleet.spawn_agent("device1")
        time.sleep(chance.uniform(0, 1))
        _restart_controller(fleet)
        fleet.await_agent("device1")
    else:
        _restart_controller(fleet)
        fleet.restart("device1")


@fault(
    "controller restarted every few seconds",
    logged=AWAY,
    devices=5,
    jobs=100,
    duration_s=0.3,
    patience_s=200,
)
def restarts(fleet: FaultyFleet, chance: random.Random) -> None:
    """Run 100 short jobs on 5 devices."""
    count = 0
    while not fleet.ended():
        time.sleep(chance.uniform(1.5, 4))
        fleet.kill("controller")
        _restart_controller(fleet)
        count += 1
        assert count < 40, "it gets nowhere"
    fleet.measured["restarts"] = count
