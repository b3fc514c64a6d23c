"""The whole fleet, or minutes: many agents at once, a saturated device, a restored copy."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fleetmark_controller.client.connection import Client
from fleetmark_protos.v1 import fleet_pb2
from tests.faults.harness import FaultyFleet, check
from tests.faults.table import TABLE
from tests.faults.test_faults import REPEAT, SEED
from tests.support import ROOT
from tests.support.processes import environment, until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]
AGENTS = 500
BUSY_S = float(os.environ.get("BUSY_S", "120"))


@pytest.fixture
def fleet(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[FaultyFleet]:
    fleet = FaultyFleet(tmp_path, getattr(request, "param", 2))
    try:
        yield fleet
    finally:
        fleet.stop()


def presences(client: Client) -> dict[str, str]:
    reply = client.call(client.fleet.ListDevices, fleet_pb2.ListDevicesRequest())
    return {device.name: device.presence for device in reply.devices}


@pytest.mark.parametrize("fleet", [0], indirect=True)
def test_500_agents_come_back_within_a_minute(fleet: FaultyFleet) -> None:
    fleet.up()
    agents = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.simulated_agents", fleet.address, str(AGENTS)],
        cwd=ROOT,
        env={**environment(), "FLEETMARK_TOKEN": fleet.token},
    )
    fleet.children["agents"] = agents

    def online() -> bool:
        return list(presences(client).values()).count("online") == AGENTS

    with Client(fleet.address, fleet.credentials) as client:
        until(online, "the simulated agents", 60)
        row = TABLE.row("500 agents reconnect at once")
        for _ in range(min(REPEAT, 5)):
            fleet.kill("controller")
            began = time.monotonic()
            fleet.start_controller()
            until(online, "the simulated agents to come back", 60)
            row.recovery_s.append(time.monotonic() - began)
            row.repetitions += 1
        connections = fleet.query("SELECT at FROM events WHERE kind = 'device.connected'")
    row.logged = "controller: device connected device=simulated…; more devices connected count=N"
    # In step they would all come within one of gRPC's back-offs.
    assert len({str(at)[:20] for (at,) in connections}) > 3, "no jitter"
    assert fleet.query("PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("fleet", [1], indirect=True)
def test_heartbeats_survive_a_saturated_processor(fleet: FaultyFleet) -> None:
    fleet.up()
    cores = 2 * (os.cpu_count() or 2)
    fleet.submit(1, duration_s=BUSY_S, anywhere=False, busy=cores)
    seen: set[str] = set()
    with Client(fleet.address, fleet.credentials) as client:
        while not fleet.ended():
            seen.add(presences(client)["device1"])
            time.sleep(0.1)
    row = TABLE.row("all cores busy for two minutes")
    row.repetitions, row.logged = 1, "nothing to tell: the device was never suspect"
    fleet.over()
    row.recovery_s.append(fleet.recovery_s())
    assert seen == {"online"}
    kinds = [kind for (kind,) in fleet.query("SELECT kind FROM events WHERE kind LIKE 'device.%'")]
    assert kinds == ["device.registered"], "it was offline, or had to connect again"
    assert not check(fleet).all()


@pytest.mark.parametrize("fleet", [1], indirect=True)
def test_a_killed_controller_leaves_no_process_behind(fleet: FaultyFleet) -> None:
    fleet.up()
    fleet.submit(1, duration_s=0.1, anywhere=False)
    until(fleet.ended, "the campaign's end")
    workers = psutil.Process(fleet.children["controller"].pid).children(recursive=True)
    assert workers, "runs are evaluated by a separate process"
    fleet.kill("controller")
    _, alive = psutil.wait_procs(workers, timeout=10)
    for process in alive:
        process.kill()
    assert not alive


@pytest.mark.parametrize("repetition", range(1, REPEAT + 1))
@pytest.mark.parametrize("restarts", [0, 1])
def test_a_restored_copy_reuses_no_epoch_and_gets_what_devices_still_hold(
    fleet: FaultyFleet, restarts: int, repetition: int
) -> None:
    """Yesterday's copy, made while the controller ran, takes the place of a home that is lost."""
    print(f"FAULT_SEED={SEED}")
    chance = random.Random(f"{SEED}/restored/{restarts}/{repetition}")
    fleet.up()
    fleet.submit(10, duration_s=0.5, anywhere=True)
    fleet.await_runs(chance.randrange(1, 3))
    copy = fleet.folder / "copy"
    done = fleet.run("backup", "--home", str(fleet.home), "--out", str(copy))
    assert done.returncode == 0, done.stderr
    for _ in range(restarts):
        fleet.kill("controller", signal.SIGTERM)
        fleet.start_controller()
    fleet.await_runs(4)
    device = fleet.devices["device1"]
    until(lambda: _running(device.home / "ledger.json"), "a run on device1")
    device.wire.cut()
    until(lambda: list(device.home.glob("spool/*.spool")), "a spooled result")
    held = _held(device.home / "ledger.json")
    fleet.kill("controller", chance.choice([signal.SIGTERM, signal.SIGKILL]))
    # Asked for only now: the other device hands in its results until the controller is dead.
    used = {int(str(epoch)) for (epoch,) in fleet.query("SELECT epoch FROM attempts")}
    # What was acknowledged after the copy was made is not in the copy, and runs again: runs, and
    # attempts whose whole result is stored, but not evaluated yet.
    stored = fleet.query(
        "SELECT job_id, epoch FROM runs"
        " UNION SELECT job_id, epoch FROM attempts WHERE state = 'VERIFYING'"
    )
    fleet.excused |= {(str(job_id), int(str(epoch))) for job_id, epoch in stored}
    fleet.home.rename(fleet.folder / "lost")
    copy.rename(fleet.home)
    known = {int(str(epoch)) for (epoch,) in fleet.query("SELECT epoch FROM attempts")}
    # The other device has lost its cache: whatever unfinished jobs need is in the copy, too.
    fleet.kill_device("device2")
    shutil.rmtree(fleet.devices["device2"].home / "cache")
    fleet.over()
    fleet.start_controller()
    fleet.spawn_agent("device2")
    if chance.random() < 0.5:
        time.sleep(chance.uniform(0, 3))
    device.wire.heal()
    until(fleet.settled, "the campaign's end, and all results")
    time.sleep(0.2)
    row = TABLE.row("yesterday's copy restored")
    row.repetitions += 1
    row.recovery_s.append(fleet.recovery_s())
    runs = {(str(j), int(str(e))) for j, e in fleet.query("SELECT job_id, epoch FROM runs")}
    tally = check(fleet, alarms=("alarm.generation",))
    row.lost += len(tally.lost) + len(held - runs)
    row.doubled += len(tally.doubled)
    row.double_run += len(tally.double_run)
    row.logged = row.logged or next(
        (t for t in fleet.logged() if "adopted" in t or "genera" in t), ""
    )
    assert held <= runs, "a result that a device still held did not arrive"
    adopted = {
        int(str(epoch))
        for (epoch,) in fleet.query("SELECT epoch FROM events WHERE kind = 'attempt.adopted'")
    }
    offered = {
        int(str(epoch))
        for (epoch,) in fleet.query("SELECT epoch FROM events WHERE kind = 'attempt.offered'")
    }
    assert not (offered - known - adopted) & used, "an epoch was used again"
    assert not tally.all()


@pytest.mark.parametrize("repetition", range(1, REPEAT + 1))
@pytest.mark.parametrize("fleet", [1], indirect=True)
def test_a_restored_copy_takes_up_jobs_that_it_never_knew(
    fleet: FaultyFleet, repetition: int
) -> None:
    """Yesterday's copy knows neither campaign nor job; the device still holds what was ordered."""
    print(f"FAULT_SEED={SEED}")
    chance = random.Random(f"{SEED}/unknown/{repetition}")
    fleet.up()
    device, copy = fleet.devices["device1"], fleet.folder / "copy"
    done = fleet.run("backup", "--home", str(fleet.home), "--out", str(copy))
    assert done.returncode == 0, done.stderr
    fleet.submit(2, duration_s=0.5, anywhere=False)
    fleet.await_state("RUNNING")
    device.wire.cut()
    if chance.random() < 0.7:
        until(lambda: list(device.home.glob("spool/*.spool")), "a spooled result")
    held = _held(device.home / "ledger.json")
    fleet.kill("controller", chance.choice([signal.SIGTERM, signal.SIGKILL]))
    fleet.home.rename(fleet.folder / "lost")
    copy.rename(fleet.home)
    assert not fleet.query("SELECT 1 FROM jobs")
    if chance.random() < 0.5:
        fleet.kill("device1")
        fleet.spawn_agent("device1")
    fleet.over()
    fleet.start_controller()
    device.wire.heal()
    until(lambda: fleet.query("SELECT 1 FROM runs") and fleet.settled(), "the result")
    row = TABLE.row("restored copy of before the jobs")
    row.repetitions += 1
    row.recovery_s.append(fleet.recovery_s())
    runs = {(str(j), int(str(e))) for j, e in fleet.query("SELECT job_id, epoch FROM runs")}
    tally = check(fleet, alarms=("alarm.generation",))
    row.lost += len(tally.lost) + len(held - runs)
    row.doubled += len(tally.doubled)
    row.double_run += len(tally.double_run)
    row.logged = row.logged or next((t for t in fleet.logged() if "job.adopted" in t), "")
    assert len(held) == 1 and held <= runs, "what the device held did not arrive"
    assert row.logged, "nothing tells of it"
    listed = json.loads(fleet.run("jobs", "list", "--json").stdout)
    assert [(job["state"], job["device"]) for job in listed] == [("SUCCEEDED", "device1")]
    assert not tally.all()


def _running(ledger: Path) -> bool:
    return bool(_held(ledger, "accepted"))


def _held(ledger: Path, standing: str = "") -> set[tuple[str, int]]:
    if not ledger.exists():
        return set()
    return {
        (entry["job_id"], entry["epoch"])
        for entry in json.loads(ledger.read_text())["attempts"]
        if entry["standing"] == standing or (not standing and entry["standing"] != "refused")
    }
