"""Stable runs on a device: its conditions, its settings, and that they are always restored."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_agent.runner.conditioning import stabilize
from fleetmark_agent.runner.conditioning.cooling import CooldownDecision, cooling
from fleetmark_agent.runner.conditioning.tuning import Tuning
from fleetmark_agent.runner.telemetry.temperature import LastingThermometer
from fleetmark_core.order import Order, parse_order
from fleetmark_core.repeat_bounds import RepeatBounds
from tests.support.agent_process import AgentProcess
from tests.support.bundles import GATED, make_lock, make_order
from tests.support.device_tree import CPU, DeviceTree
from tests.support.fake_controller import FakeController

BOUNDS = RepeatBounds(start_temperature_c=60, cool_wait_s=300)


# Decisions.


@pytest.mark.parametrize(
    ("looks", "decision"),
    [
        ([(0, None)], CooldownDecision.UNKNOWN),
        ([(0, 60.0)], CooldownDecision.COOL),
        ([(0, 60.1)], CooldownDecision.WAIT),
        ([(0, 80.0), (10, 59.0)], CooldownDecision.COOL),
        ([(0, 80.0), (59, 80.0)], CooldownDecision.WAIT),
        ([(0, 80.0), (60, 80.0)], CooldownDecision.LEVEL),
        ([(0, 80.0), (60, 79.6)], CooldownDecision.LEVEL),
        ([(0, 80.0), (60, 79.4)], CooldownDecision.WAIT),
        ([(0, 80.0), (30, 90.0), (90, 89.9)], CooldownDecision.LEVEL),
        ([(0, 99.0), (60, 97.0), (299, 62.0)], CooldownDecision.WAIT),
        ([(0, 99.0), (60, 97.0), (300, 62.0)], CooldownDecision.TOO_LONG),
        ([(0, 80.0), (10, None)], CooldownDecision.UNKNOWN),
        ([(n * 2.0, 80.0) for n in range(15)], CooldownDecision.WAIT),
        ([(n * 2.0, 80.0) for n in range(16)], CooldownDecision.UNCHANGED),
        ([(n * 2.0, 80.0 - (n == 3)) for n in range(16)], CooldownDecision.WAIT),
    ],
)
def test_cooling(looks: list[tuple[float, float | None]], decision: CooldownDecision) -> None:
    assert cooling(looks, BOUNDS) is decision


@given(st.lists(st.one_of(st.none(), st.floats(-50, 150)), min_size=1, max_size=200))
def test_every_wait_ends_in_time(temperatures: list[float | None]) -> None:
    looks: list[tuple[float, float | None]] = []
    for number in range(1000):
        looks.append((number * 2.0, temperatures[number % len(temperatures)]))
        if cooling(looks, BOUNDS) is not CooldownDecision.WAIT:
            break
    assert looks[-1][0] <= BOUNDS.cool_wait_s


class Clock:
    """Time that passes while the agent sleeps, and what happens to the device meanwhile."""

    def __init__(
        self, device: DeviceTree, began_s: float, zones: dict[str, Callable[[float], float]]
    ) -> None:
        self.now_s = self.began_s = began_s
        self.device = device
        self.zones = zones
        self.show()

    def show(self) -> None:
        for number, (name, celsius) in enumerate(self.zones.items()):
            folder = f"sys/class/thermal/thermal_zone{number}"
            self.device.put(f"{folder}/type", name)
            value = round(1000 * celsius(self.now_s - self.began_s))
            self.device.put(f"{folder}/temp", value)

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.show()


def wait_until_cool(
    device: DeviceTree,
    monkeypatch: pytest.MonkeyPatch,
    thermometer: LastingThermometer | None = None,
    began_s: float = 1000.0,
    **zones: Callable[[float], float],
) -> stabilize.CooldownResult:
    clock = Clock(device, began_s, zones)
    monkeypatch.setattr(stabilize.time, "monotonic", clock.monotonic)
    monkeypatch.setattr(stabilize.asyncio, "sleep", clock.sleep)
    site: Any = SimpleNamespace(
        settings=SimpleNamespace(system_root=str(device.root)),
        thermometer=thermometer or LastingThermometer(device.root),
    )
    lock: Any = SimpleNamespace(job={"benchmark": {"condition": {"start_temperature_c": 60}}})
    waiting = stabilize.until_cool(site, lock)
    with pytest.raises(StopIteration) as end:
        waiting.send(None)
    waited = end.value.value
    assert isinstance(waited, stabilize.CooldownResult)
    return waited


def test_a_stuck_sensor_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name does not give it away, so that only its behavior does."""
    device = DeviceTree(tmp_path)
    zones = {"zone-a": lambda at_s: 70.0 - at_s / 10, "zone-b": lambda _: 100.0}
    waited = wait_until_cool(device, monkeypatch, **zones)
    assert (waited.why, waited.seconds) == (CooldownDecision.COOL, 100.0)
    assert (waited.first_c, waited.last_c) == (70.0, 60.0)
    assert waited.stuck == {"zone-b": "it read 100.0 °C for 100 s, while others changed by 10.0 °C"}
    assert stabilize.RunConditions(waited).as_provenance()["stuck_sensors"] == waited.stuck


def test_a_device_of_which_no_sensor_changes_waits_half_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = wait_until_cool(DeviceTree(tmp_path), monkeypatch, **{"cpu-thermal": lambda _: 85.0})
    assert (waited.why, waited.seconds, waited.stuck) == (CooldownDecision.UNCHANGED, 30.0, {})
    assert waited.last_c == 85.0


def test_what_is_known_of_a_sensor_is_not_found_out_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run of a stable campaign begins at once."""
    device = DeviceTree(tmp_path)
    thermometer = LastingThermometer(tmp_path)
    zones = {"zone-a": lambda at_s: 70.0 - at_s / 10, "zone-b": lambda _: 100.0}
    wait_until_cool(device, monkeypatch, thermometer, **zones)
    zones["zone-a"] = lambda _: 45.0
    waited = wait_until_cool(device, monkeypatch, thermometer, 5000.0, **zones)
    assert (waited.why, waited.seconds, list(waited.stuck)) == (
        CooldownDecision.COOL,
        0.0,
        ["zone-b"],
    )


def test_sensors_of_other_parts_are_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zones = {"CPU-therm": lambda _: 45.0, "PMIC-Die": lambda _: 100.0}
    waited = wait_until_cool(DeviceTree(tmp_path), monkeypatch, **zones)
    assert (waited.why, waited.seconds) == (CooldownDecision.COOL, 0.0)


def test_an_order_that_is_not_stable_does_not_speak_of_it() -> None:
    order = Order(1, "d", "c", "j", 1, "0" * 64, 1, 1, "Offline", "performance", "quick", 5.0)
    assert b"stable" not in order.canonical()
    assert parse_order(order.canonical()) == order
    stable = replace(order, stable=True)
    assert parse_order(stable.canonical()) == stable


# Settings, and their journal.


@pytest.fixture
def device(tmp_path: Path) -> DeviceTree:
    device = DeviceTree(tmp_path / "root").reset_to_healthy()
    device.governor("schedutil", "performance schedutil", policy=4)
    return device


def governors(device: DeviceTree) -> list[str]:
    return [device.get(f"{CPU}/cpufreq/policy{n}/scaling_governor") for n in (0, 4)]


def test_governors_are_set_and_set_back(device: DeviceTree, tmp_path: Path) -> None:
    tuning = Tuning(tmp_path, device.root)
    policy = f"{CPU}/cpufreq/policy{{}}/scaling_governor"
    assert tuning.apply() == {
        "governor": "performance",
        "governor_before": "powersave+schedutil",
        "settings": [
            {"name": "governor", "target": policy.format(number), "before": before, "set": now}
            for number, before, now in (
                (0, "powersave", "performance"),
                (4, "schedutil", "performance"),
            )
        ],
        "not_set": [],
        "refused": [],
    }
    assert governors(device) == ["performance", "performance"]
    assert tuning.journal.exists()
    for _ in range(2):
        Tuning(tmp_path, device.root).undo()
        assert governors(device) == ["powersave", "schedutil"]
        assert not tuning.journal.exists()


def test_a_setting_changed_by_another_program_is_kept(device: DeviceTree, tmp_path: Path) -> None:
    tuning = Tuning(tmp_path, device.root)
    tuning.apply()
    device.governor("userspace", policy=4)
    tuning.undo()
    assert governors(device) == ["powersave", "userspace"]


def test_after_a_restart_of_the_device_there_is_nothing_to_set_back(
    device: DeviceTree, tmp_path: Path
) -> None:
    device.put("proc/sys/kernel/random/boot_id", "first")
    tuning = Tuning(tmp_path, device.root)
    tuning.apply()
    device.put("proc/sys/kernel/random/boot_id", "second")
    tuning.undo()
    assert governors(device) == ["performance", "performance"]
    assert not tuning.journal.exists()


def test_what_cannot_be_set_is_reported(device: DeviceTree, tmp_path: Path) -> None:
    device.governor("powersave", choices="powersave ondemand")
    reported = Tuning(tmp_path, device.root).apply()
    assert reported["governor"] == "performance"
    assert reported["not_set"] == [
        f"governor: {CPU}/cpufreq/policy0/scaling_governor does not offer performance"
    ]
    bare = Tuning(tmp_path / "other", tmp_path / "nothing")
    assert bare.apply()["not_set"] == ["governor: the device has no cpufreq"]
    assert not bare.journal.exists()


DAMAGED = ["", "{", "[]", '{"boot": 1}', '{"boot": "", "settings": [{}]}', "[" * 100_000]


@pytest.mark.parametrize("text", DAMAGED, ids=lambda text: text[:20])
def test_a_damaged_journal_is_left_behind(device: DeviceTree, tmp_path: Path, text: str) -> None:
    tuning = Tuning(tmp_path, device.root)
    tuning.journal.write_text(text)
    tuning.undo()
    assert governors(device) == ["powersave", "schedutil"]
    assert not tuning.journal.exists()


def test_settings_that_stay_are_tried_again(
    device: DeviceTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuning = Tuning(tmp_path, device.root)
    tuning.apply()
    with monkeypatch.context() as patch:

        def refuse(self: Path, text: str) -> int:
            raise PermissionError(13, "Permission denied")

        patch.setattr(Path, "write_text", refuse)
        tuning.undo()
    assert tuning.journal.exists()
    tuning.undo()
    assert governors(device) == ["powersave", "schedutil"]


# The agent as a process.


@pytest.fixture
def tuned(agent: AgentProcess, device: DeviceTree) -> AgentProcess:
    with (agent.home / "config.toml").open("a") as config:
        config.write(f'system_root = "{device.root}"\n')
    return agent


def stable_order(controller: FakeController, agent: AgentProcess) -> Order:
    lock = replace(
        make_lock(controller, GATED),
        job={"benchmark": {"condition": {"start_temperature_c": 60}}},
    )
    order = make_order(controller, lock, gate=str(agent.gates / "gate"), threads=1)
    return replace(order, stable=True)


async def running(controller: FakeController, device: DeviceTree, agent: AgentProcess) -> None:
    """Wait until the job runs under its settings."""
    for _ in range(600):
        begun = list(agent.home.glob("attempts/*/started.json"))
        if begun and governors(device) == ["performance", "performance"]:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the job did not begin")
