"""Stable runs on a device: its conditions, its settings, and that they are always restored."""

from __future__ import annotations

import asyncio
import json
import os
import signal

from tests.support.agent_process import AgentProcess
from tests.support.device_tree import DeviceTree
from tests.support.fake_controller import FakeController
from tests.unit.agent import test_stable_run as unit
from tests.unit.agent.test_stable_run import governors, running, stable_order

# Fixtures of the unit tests.
device = unit.device
tuned = unit.tuned


async def test_a_stable_job_is_run_under_its_settings(
    tuned: AgentProcess, controller: FakeController, device: DeviceTree
) -> None:
    await tuned.start()
    device.temperature(75)
    device.put("sys/class/thermal/thermal_zone9/type", "PMIC-Die")
    device.put("sys/class/thermal/thermal_zone9/temp", 100_000)
    order = stable_order(controller, tuned)
    controller.offer(order)
    # The first look at the temperature is taken before this is sent.
    await controller.wait_for(lambda: [r for r in controller.reports if r.progress.phase == "cool"])
    assert governors(device) == ["powersave", "schedutil"], "it is too warm to begin"
    device.temperature(55)
    await running(controller, device, tuned)
    (tuned.gates / "gate").touch()
    final = await controller.final((order.job_id, order.epoch))
    reported = final.provenance["stable"]
    assert (reported["governor"], reported["governor_before"]) == (
        "performance",
        "powersave+schedutil",
    )
    assert (reported["before_c"], reported["start_c"]) == (75.0, 55.0)
    assert reported["began_because"] == "it is cool enough"
    assert reported["waited_s"] > 0
    assert final.provenance["governor"] == "performance"
    if len(os.sched_getaffinity(0)) > 1:
        assert reported["cores"] == [max(os.sched_getaffinity(0))]
        assert reported["core_kinds"] == [{"kind": None, "cores": reported["cores"]}]
    assert reported["cores_because"] == "1 thread, as many cores"
    assert final.provenance["temperatures"]["sensors"] == ["cpu-thermal"]
    assert final.provenance["temperatures"]["left_out"] == {"PMIC-Die": "it is a power regulator"}
    assert reported["stuck_sensors"] == {}
    assert governors(device) == ["powersave", "schedutil"]
    assert not (tuned.home / "tuning.json").exists()


async def test_a_killed_agent_sets_back_when_the_job_is_over(
    tuned: AgentProcess, controller: FakeController, device: DeviceTree
) -> None:
    await tuned.start()
    order = stable_order(controller, tuned)
    controller.offer(order)
    await running(controller, device, tuned)
    await tuned.end(signal.SIGKILL)
    assert json.loads((tuned.home / "tuning.json").read_text())["settings"]
    await tuned.start()
    await asyncio.sleep(0.3)
    assert governors(device) == ["performance", "performance"], "the job still runs"
    (tuned.gates / "gate").touch()
    await controller.final((order.job_id, order.epoch))
    assert governors(device) == ["powersave", "schedutil"]
    assert not (tuned.home / "tuning.json").exists()


async def test_the_next_start_sets_back_what_a_crash_left(
    tuned: AgentProcess, controller: FakeController, device: DeviceTree
) -> None:
    """Agent and supervisor are killed: nothing runs, and no setting was restored."""
    await tuned.start()
    order = stable_order(controller, tuned)
    controller.offer(order)
    await running(controller, device, tuned)
    (started,) = tuned.home.glob("attempts/*/started.json")
    await tuned.end(signal.SIGKILL)
    os.kill(json.loads(started.read_text())["pid"], signal.SIGKILL)
    await tuned.start()
    final = await controller.final((order.job_id, order.epoch))
    assert final.outcome == "failed"
    assert governors(device) == ["powersave", "schedutil"]
    assert not (tuned.home / "tuning.json").exists()


async def test_a_cancelled_job_sets_back(
    tuned: AgentProcess, controller: FakeController, device: DeviceTree
) -> None:
    await tuned.start()
    order = stable_order(controller, tuned)
    controller.offer(order)
    await running(controller, device, tuned)
    controller.order_stop((order.job_id, order.epoch))
    # The list of changed settings goes last, when they are restored.
    for _ in range(400):
        if not (tuned.home / "tuning.json").exists():
            break
        await asyncio.sleep(0.05)
    assert not (tuned.home / "tuning.json").exists()
    assert governors(device) == ["powersave", "schedutil"]
