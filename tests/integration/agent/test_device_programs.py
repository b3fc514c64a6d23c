"""Settings of a stable run by the vendor's programs: made, restored, refused by name."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fleetmark_agent.fingerprint import controls, measure
from fleetmark_agent.runner.conditioning import device_programs
from fleetmark_agent.runner.conditioning.device_programs import STORED_CLOCKS
from fleetmark_agent.runner.conditioning.doctor import examine_measuring
from fleetmark_agent.runner.conditioning.tuning import JOURNAL, Tuning
from fleetmark_core import subprocesses
from tests.support.agent_process import AgentProcess
from tests.support.detection_devices import has_ended
from tests.support.device_tree import DeviceTree
from tests.support.fake_controller import FakeController
from tests.support.vendor_devices import GPU, GPU_CLOCK, STATUS, JetsonDevice, add_gpu
from tests.unit.agent.test_stable_run import stable_order

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="the agent must be root to set them")
SLOW, FAST = ("pmode:0000", "dynamic"), ("pmode:0002", "highest")


@pytest.fixture
def jetson(tmp_path: Path) -> JetsonDevice:
    return JetsonDevice(tmp_path / "root")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "agent-home"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def root_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake programs need no rights; the agent looks whether it has them."""
    monkeypatch.setattr(device_programs, "is_root", lambda: True)


def test_power_mode_and_clocks_are_set_and_restored(jetson: JetsonDevice, home: Path) -> None:
    reported = Tuning(home, jetson.root).apply()
    assert jetson.state() == FAST
    assert [(one["name"], one["before"], one["set"]) for one in reported["settings"]] == [
        ("nvpmodel", "15W", "MAXN_SUPER"),
        ("jetson_clocks", "stored", "highest"),
    ]
    assert reported["refused"] == []
    # The mode limits the clocks, so it is set first.
    assert jetson.calls()[0] == "nvpmodel -m 2"
    for _ in range(2):
        Tuning(home, jetson.root).undo()
        assert jetson.state() == SLOW
        assert not (home / JOURNAL).exists() and not (home / STORED_CLOCKS).exists()
    assert jetson.calls()[-2:] == ["jetson_clocks --restore", "nvpmodel -m 0"]


def test_each_change_is_in_the_journal_before_it_is_made(jetson: JetsonDevice, home: Path) -> None:
    """The programs copy the journal when they are called."""
    for path, word in (("usr/sbin/nvpmodel", "nvpmodel"), ("usr/bin/jetson_clocks", "clocks")):
        script = (jetson.root / path).read_text()
        first, rest = script.split("\n", 1)
        copy = 'while read -r l || [ -n "$l" ]; do echo "$l"; done'
        copy = f"{copy} < {home}/{JOURNAL} > {home}/seen-{word}"
        (jetson.root / path).write_text(f"{first}\n{copy}\n{rest}")
    Tuning(home, jetson.root).apply()
    for word, control in (("nvpmodel", "nvpmodel"), ("clocks", "jetson_clocks")):
        seen = json.loads((home / f"seen-{word}").read_text())
        assert seen["programs"][-1]["control"] == control


def test_a_mode_that_wants_a_reboot_is_refused(jetson: JetsonDevice, home: Path) -> None:
    jetson.put("wants-reboot", "")
    reported = Tuning(home, jetson.root).apply()
    assert reported["refused"] == ["nvpmodel: power mode MAXN_SUPER wants a reboot of the device"]
    assert jetson.state() == ("pmode:0000", "highest"), "the clocks of the mode are set"
    Tuning(home, jetson.root).undo()
    assert jetson.state() == SLOW
    assert not (jetson.root / "rebooted").exists()
    assert not (home / JOURNAL).exists()


def test_without_the_rights_each_setting_is_named(
    jetson: JetsonDevice, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_programs, "is_root", lambda: False)
    tuning = Tuning(home, jetson.root)
    assert tuning.apply()["refused"] == [
        "nvpmodel: the power mode may only be changed by root; it is 15W",
        "jetson_clocks: the clocks may only be changed by root",
    ]
    assert jetson.calls() == [] and not tuning.journal.exists()
    server = DeviceTree(home / "server")
    add_gpu(server)
    assert Tuning(home, server.root).apply()["refused"] == [
        "gpu_clocks: the clocks of GPUs may only be locked by root"
    ]


def test_a_failing_program_is_named_with_what_it_said(jetson: JetsonDevice, home: Path) -> None:
    jetson.put("nvpmodel-fails", "")
    reported = Tuning(home, jetson.root).apply()
    assert reported["refused"] == [
        "nvpmodel: nvpmodel -m 2: exit code 255: NVPM ERROR: out of order"
    ]


def test_a_mode_that_an_operator_names(jetson: JetsonDevice, home: Path) -> None:
    tuning = Tuning(home, jetson.root, power_mode="7W")
    assert tuning.apply()["settings"][0]["set"] == "7W"
    tuning.undo()
    missing = Tuning(home, jetson.root, power_mode="99W")
    assert missing.apply()["refused"] == [
        "nvpmodel: the device has no power mode 99W (modes: 15W, 7W, MAXN_SUPER)"
    ]
    missing.undo()
    only_governor = Tuning(home, jetson.root, ["governor"])
    before = jetson.calls()
    assert only_governor.apply()["settings"] == [] and jetson.calls() == before


def test_a_device_without_full_speed_is_not_suspicious(jetson: JetsonDevice, home: Path) -> None:
    jetson.put("etc/nvpmodel.conf", "< POWER_MODEL ID=0 NAME=10W >")
    reported = Tuning(home, jetson.root, ["nvpmodel"]).apply()
    assert reported["refused"] == []
    assert reported["not_set"] == ["nvpmodel: the device has no power mode MAXN (modes: 10W)"]


def test_after_a_restart_of_the_device_only_the_power_mode_is_restored(
    jetson: JetsonDevice, home: Path
) -> None:
    boot = "proc/sys/kernel/random/boot_id"
    jetson.put(boot, "first")
    Tuning(home, jetson.root).apply()
    jetson.put(boot, "second")
    jetson.put("clocks", "dynamic")
    Tuning(home, jetson.root).undo()
    assert jetson.state() == SLOW
    assert "jetson_clocks --restore" not in jetson.calls()
    assert not (home / JOURNAL).exists() and not (home / STORED_CLOCKS).exists()


def test_a_mode_that_another_program_set_is_kept(jetson: JetsonDevice, home: Path) -> None:
    Tuning(home, jetson.root).apply()
    jetson.put(STATUS, "pmode:0001")
    Tuning(home, jetson.root).undo()
    assert jetson.state() == ("pmode:0001", "dynamic")


def test_what_cannot_be_restored_keeps_its_old_value(jetson: JetsonDevice, home: Path) -> None:
    """A second run must not store the highest clocks as those of before."""
    Tuning(home, jetson.root).apply()
    jetson.put("restore-fails", "")
    Tuning(home, jetson.root).undo()
    assert jetson.state() == ("pmode:0000", "highest")
    reported = Tuning(home, jetson.root).apply()
    assert reported["refused"] == [
        "jetson_clocks: the change of an earlier run could not be restored"
    ]
    (jetson.root / "restore-fails").unlink()
    Tuning(home, jetson.root).undo()
    assert jetson.state() == SLOW
    assert not (home / JOURNAL).exists()


def test_clocks_of_a_gpu(tmp_path: Path, home: Path) -> None:
    server = DeviceTree(tmp_path / "server")
    add_gpu(server)
    reported = Tuning(home, server.root).apply()
    assert reported["settings"] == [
        {"name": "gpu_clocks", "target": GPU, "before": "unlocked", "set": "2520 MHz"}
    ]
    assert server.get(GPU_CLOCK) == "2520,2520"
    Tuning(home, server.root).undo()
    assert server.get(GPU_CLOCK) == "unlocked"
    server.put("no-locked-clocks", "")
    reported = Tuning(home, server.root).apply()
    assert reported["settings"] == [] and reported["refused"] == []
    assert f"gpu_clocks: {GPU} does not support locked clocks" in reported["not_set"]


@pytest.mark.parametrize(
    "change",
    [
        {"control": "nvpmodel", "before": "0 --force", "set": "2", "target": ""},
        {"control": "gpu_clocks", "before": "unlocked", "set": "1", "target": "-i"},
        {"control": "reboot", "before": "", "set": "", "target": ""},
        {"control": "nvpmodel"},
        7,
    ],
)
def test_a_journal_becomes_no_arguments_of_its_own(
    jetson: JetsonDevice, home: Path, change: object
) -> None:
    journal = {"boot": "", "settings": [], "programs": [change]}
    (home / JOURNAL).write_text(json.dumps(journal))
    Tuning(home, jetson.root).undo()
    assert jetson.calls() == [] and not (home / JOURNAL).exists()


def test_the_capabilities_and_the_doctor_name_the_controls(
    jetson: JetsonDevice, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controls, "is_root", lambda: False)
    found = {one.name: one for one in measure(jetson.root, home).controls}
    mode = found["nvpmodel"]
    assert (mode.writable, mode.current) == (False, "15W")
    assert mode.choices == ("15W", "7W", "MAXN_SUPER")
    assert not found["jetson_clocks"].writable
    plans = Tuning(home, jetson.root).plans()
    assert plans["nvpmodel"] == "MAXN_SUPER can be set"
    assert plans["jetson_clocks"] == "highest can be set"
    assert plans["governor"] == "the device has no cpufreq"
    assert "gpu_clocks" not in plans and jetson.calls() == []
    shown = examine_measuring(jetson.root, plans).fields()
    assert shown["stable nvpmodel"] == "MAXN_SUPER can be set"
    jetson.put("etc/nvpmodel.conf", "")
    assert "none in /etc/nvpmodel.conf" in Tuning(home, jetson.root).plans()["nvpmodel"]


def test_a_program_that_hangs_ends_with_all_that_it_started(tmp_path: Path) -> None:
    """Its children leave its process group, but not its session."""
    pids = tmp_path / "pids"
    script = f"set -m; sleep 60 & echo $! > {pids}; echo said; sleep 60"
    began = time.monotonic()
    ran = subprocesses.run_tool(["/bin/bash", "-c", script], 0.5)
    assert time.monotonic() - began < 10
    assert (ran.output, ran.fault) == ("said\n", "time limit of 0.5 s exceeded")
    assert has_ended(int(pids.read_text()))


def test_a_program_that_ends_leaves_nothing_behind(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    ran = subprocesses.run_tool(["/bin/bash", "-c", f"set -m; sleep 60 & echo $! > {pids}"], 10)
    assert ran.fault == ""
    assert has_ended(int(pids.read_text()))


STEPS = [
    f"{when} {call}"
    for call in ("nvpmodel -m", "jetson_clocks --store", "jetson_clocks set")
    for when in ("before", "after")
]


@needs_root
@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_step_leaves_nothing_set(jetson: JetsonDevice, home: Path, step: str) -> None:
    """A real process makes the settings; a program kills it before or after its work."""
    jetson.put("kill-at", step)
    code = "import sys; from pathlib import Path; from fleetmark_agent.runner.conditioning.tuning"
    code += " import Tuning; Tuning(Path(sys.argv[1]), Path(sys.argv[2])).apply()"
    ran = subprocess.run(
        [sys.executable, "-c", code, str(home), str(jetson.root)], check=False, timeout=60
    )
    assert ran.returncode == -signal.SIGKILL
    assert (home / JOURNAL).exists()
    (jetson.root / "kill-at").unlink()
    Tuning(home, jetson.root).undo()
    assert jetson.state() == SLOW
    assert not (home / JOURNAL).exists()
    # The next run begins from there.
    assert Tuning(home, jetson.root).apply()["refused"] == []
    assert jetson.state() == FAST


# The agent and its supervisor as processes.


@pytest.fixture
def tuned(agent: AgentProcess, jetson: JetsonDevice) -> AgentProcess:
    jetson.temperature(45)
    with (agent.home / "config.toml").open("a") as config:
        config.write(f'system_root = "{jetson.root}"\n')
    return agent


async def running(jetson: JetsonDevice, agent: AgentProcess) -> None:
    for _ in range(600):
        if list(agent.home.glob("attempts/*/started.json")) and jetson.state() == FAST:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the job did not begin")


async def restored(jetson: JetsonDevice, agent: AgentProcess) -> None:
    for _ in range(400):
        if not (agent.home / JOURNAL).exists():
            break
        await asyncio.sleep(0.05)
    assert jetson.state() == SLOW
    assert not (agent.home / STORED_CLOCKS).exists()


@needs_root
async def test_a_killed_supervisor_does_not_keep_the_settings(
    tuned: AgentProcess, controller: FakeController, jetson: JetsonDevice
) -> None:
    await tuned.start()
    order = stable_order(controller, tuned)
    controller.offer(order)
    await running(jetson, tuned)
    (started,) = tuned.home.glob("attempts/*/started.json")
    os.kill(json.loads(started.read_text())["pid"], signal.SIGKILL)
    final = await controller.final((order.job_id, order.epoch))
    assert final.outcome == "failed"
    await restored(jetson, tuned)


@needs_root
async def test_the_next_start_restores_what_a_crash_of_both_left(
    tuned: AgentProcess, controller: FakeController, jetson: JetsonDevice
) -> None:
    await tuned.start()
    order = stable_order(controller, tuned)
    controller.offer(order)
    await running(jetson, tuned)
    (started,) = tuned.home.glob("attempts/*/started.json")
    await tuned.end(signal.SIGKILL)
    os.kill(json.loads(started.read_text())["pid"], signal.SIGKILL)
    assert jetson.state() == FAST
    await tuned.start()
    await controller.final((order.job_id, order.epoch))
    await restored(jetson, tuned)


@needs_root
async def test_a_job_that_is_cancelled_while_settings_are_made(
    tuned: AgentProcess, controller: FakeController, jetson: JetsonDevice
) -> None:
    jetson.put("slow", "")
    await tuned.start()
    order = stable_order(controller, tuned)
    controller.offer(order)
    for _ in range(600):
        if (tuned.home / JOURNAL).exists():
            break
        await asyncio.sleep(0.02)
    assert jetson.state() == SLOW, "the program is at work"
    controller.order_stop((order.job_id, order.epoch))
    for _ in range(600):
        if "jetson_clocks --restore" in jetson.calls():
            break
        await asyncio.sleep(0.05)
    await restored(jetson, tuned)
    assert not list(tuned.home.glob("attempts/*/started.json"))


@needs_root
async def test_a_job_that_ends_reports_its_settings(
    tuned: AgentProcess, controller: FakeController, jetson: JetsonDevice
) -> None:
    jetson.put("sys/kernel/debug/rknpu/load", "NPU load:  Core0: 30%, Core1:  0%, Core2:  0%,")
    await tuned.start()
    order = stable_order(controller, tuned)
    controller.offer(order)
    await running(jetson, tuned)
    (tuned.gates / "gate").touch()
    final = await controller.final((order.job_id, order.epoch))
    reported = final.provenance["stable"]
    assert [one["name"] for one in reported["settings"]] == ["nvpmodel", "jetson_clocks"]
    readings = final.provenance["telemetry"]["accelerators"]
    assert readings["rknpu load_percent"] == {"min": 10.0, "mean": 10.0, "max": 10.0}
    await restored(jetson, tuned)
