"""Ends that are asked for, homes that are taken, versions that differ."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import subprocess
import time

from tests.faults.harness import AWAY, INJECT, FaultyFleet, fault
from tests.support.processes import BIN, environment, until

_TERM = signal.SIGTERM


def _set_protocol_version(fleet: FaultyFleet, name: str, protocol: int) -> None:
    fleet.extra[name] = {"PYTHONPATH": str(INJECT), "FAULT_PROTOCOL": str(protocol)}


@fault(
    "SIGTERM of an agent in the middle of a run",
    logged=r"the agent received a signal to shut down",
    duration_s=1,
)
def agent(fleet: FaultyFleet, chance: random.Random) -> None:
    """Expect that the agent hands the attempt back and ends within seconds."""
    name, *_ = fleet.await_state("RUNNING")
    time.sleep(chance.uniform(0, 0.8))
    fleet.strike_job(name)
    began = time.monotonic()
    fleet.kill(name, _TERM)
    fleet.measured["ended after"] = time.monotonic() - began
    assert fleet.children[name].returncode == 0
    fleet.restart(name)


@fault(
    "SIGTERM of an agent that holds a result",
    logged=rf"results not uploaded .*job=|{AWAY}",
    devices=1,
    jobs=3,
)
def agent_with_spool(fleet: FaultyFleet, chance: random.Random) -> None:
    """Expect that the agent keeps its spool: the result arrives after its next start."""
    wire = fleet.devices["device1"].wire
    fleet.await_state("RUNNING")
    wire.cut()
    until(lambda: list(fleet.devices["device1"].home.glob("spool/*.spool")), "a spooled result")
    time.sleep(chance.uniform(0, 0.5))
    fleet.kill("device1", _TERM)
    wire.heal()
    fleet.measured["result after restart"] = fleet.restart("device1")


@fault("SIGTERM of the controller", logged=r"closed the session: the controller is stopping")
def controller(fleet: FaultyFleet, chance: random.Random) -> None:
    time.sleep(chance.uniform(0, 2))
    fleet.kill("controller", _TERM)
    assert fleet.children["controller"].returncode == 0
    fleet.measured["serves again"] = fleet.restart("controller")


@fault("two controllers on one home", logged=r"another controller .* is using this home")
def two_controllers(fleet: FaultyFleet, chance: random.Random) -> None:
    time.sleep(chance.uniform(0, 1))
    done = _second("controller", "serve", "--home", str(fleet.home), "--listen", "127.0.0.1:0")
    fleet.notes.append(done.stderr)
    assert done.returncode == 4, done.stderr


@fault("two agents on one home", logged=r"another agent runs with this home")
def two_agents(fleet: FaultyFleet, chance: random.Random) -> None:
    time.sleep(chance.uniform(0, 1))
    device = fleet.devices["device1"]
    done = _second(
        "agent", "start", "--home", str(device.home), "--controller", device.wire.address
    )
    fleet.notes.append(done.stderr)
    assert done.returncode == 4, done.stderr


def _second(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / program), *arguments]
    return subprocess.run(
        command, env=environment(), capture_output=True, text=True, check=False, timeout=30
    )


@fault(
    "agent one version older",
    logged=r"agent=0 controller=1 hint=.* update the agent",
    before=lambda fleet: _set_protocol_version(fleet, "device1", 0),
)
def older_agent(fleet: FaultyFleet, chance: random.Random) -> None:
    assert _works(fleet, "device1")


@fault(
    "agent one version newer",
    logged=r"agent=2 controller=1 hint=.* update the controller",
    before=lambda fleet: _set_protocol_version(fleet, "device1", 2),
)
def newer_agent(fleet: FaultyFleet, chance: random.Random) -> None:
    assert _works(fleet, "device1")


def _works(fleet: FaultyFleet, name: str) -> bool:
    until(fleet.ended, "the campaign's end")
    return bool(fleet.query("SELECT 1 FROM runs WHERE device = ?", name))


@fault(
    "agent two versions newer", logged=r"the agent speaks protocol 3, but the controller speaks 1"
)
def too_new_agent(fleet: FaultyFleet, chance: random.Random) -> None:
    """Expect a clear refusal; the old version is accepted again."""
    time.sleep(chance.uniform(0, 1))
    fleet.kill("device1")
    _set_protocol_version(fleet, "device1", 3)
    fleet.spawn_agent("device1")
    until(lambda: "speaks protocol 3" in fleet.log("device1"), "the refusal", 20)
    fleet.kill("device1")
    del fleet.extra["device1"]
    fleet.restart("device1")


@fault("controller replaced by one version newer", logged=r"closed the session")
def newer_controller(fleet: FaultyFleet, chance: random.Random) -> None:
    time.sleep(chance.uniform(0, 1))
    fleet.kill("controller", _TERM)
    _set_protocol_version(fleet, "controller", 2)
    fleet.restart("controller")
    for name in fleet.devices:
        fleet.await_agent(name)


@fault("older controller on a newer store", logged=r"written by a newer version .* 0999_later")
def newer_store(fleet: FaultyFleet, chance: random.Random) -> None:
    """Expect a refusal that changes nothing."""
    fleet.await_runs(1)
    fleet.kill("controller", _TERM)
    store = fleet.home / "results.db"
    with sqlite3.connect(store) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(_sqlite_migrations)")]
        values = {"migration_set": "fleetmark", "name": "0999_later", "applied_at": "2099-01-01"}
        given = [values.get(column) for column in columns]
        marks = ",".join("?" * len(columns))
        connection.execute(f"INSERT INTO _sqlite_migrations VALUES ({marks})", given)
    connection.close()
    before = store.read_bytes()
    child = fleet.spawn_controller()
    assert child.wait(30) == 4, f"exit code {child.returncode}"
    assert store.read_bytes() == before
    with sqlite3.connect(store) as connection:
        connection.execute("DELETE FROM _sqlite_migrations WHERE name = '0999_later'")
    connection.close()
    fleet.restart("controller")


def _killed_migrations(fleet: FaultyFleet) -> None:
    """Start eight times for the first time; kill each within 80 ms of the store's appearance."""
    chance = random.Random(fleet.address)
    store = fleet.home / "results.db"
    for _ in range(8):
        child = fleet.spawn_controller()
        while not store.exists() or not store.stat().st_size:
            assert child.poll() is None, fleet.log("controller")
            time.sleep(0.0005)
        time.sleep(chance.uniform(0, 0.08))
        child.kill()
        child.wait()
        try:
            views = fleet.query("SELECT count(*) FROM sqlite_master WHERE type = 'view'")
        except sqlite3.Error:
            views = [(0,)]
        whole = views[0][0] != 0
        fleet.notes.append("a killed migration " + ("had committed" if whole else "left nothing"))
        if not whole or chance.random() < 0.5:
            continue
        for path in fleet.home.glob("results.db*"):
            path.unlink()
        # A first start again: a CA without its store is a damaged home.
        shutil.rmtree(fleet.home / "identity", ignore_errors=True)
        (fleet.home / "generation").unlink(missing_ok=True)


@fault("migration killed midway", logged=r"a killed migration", before=_killed_migrations)
def migration(fleet: FaultyFleet, chance: random.Random) -> None:
    """Expect that the next start completes the store; the campaign runs as usual."""
