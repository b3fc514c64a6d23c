"""What the device's files say of its condition: every source, by itself and changing."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetmark_agent.fingerprint import sensors
from fleetmark_agent.fingerprint.cpu_quota import ThrottleCount
from fleetmark_agent.runner.telemetry import device_condition, power_sensors
from fleetmark_agent.runner.telemetry.device_condition import Condition
from tests.support.device_tree import CPU, DeviceTree


@pytest.fixture
def device(tmp_path: Path) -> DeviceTree:
    return DeviceTree(tmp_path / "root").reset_to_healthy()


def test_a_calm_device(device: DeviceTree) -> None:
    seen = Condition(device.root).sample()
    assert seen == device_condition.Reading(
        45.0,
        1_800_000_000,
        0,
        1000 * mmap.PAGESIZE,
        0,
        "governor=powersave, power=mains",
        ThrottleCount(0, 0),
        {"cpu-thermal": 45.0},
    )
    assert Condition(device.root).unavailable() == {}


def test_a_device_that_offers_nothing_is_unavailable_never_zero(tmp_path: Path) -> None:
    bare = Condition(tmp_path)
    assert bare.sample() == device_condition.Reading(None, None, None, None, None, "")
    assert set(bare.unavailable()) == {
        *("temperature_c", "frequency_hz", "swap_bytes", "swapped_bytes", "throttled"),
        *("power_mode", "quota_throttled"),
    }


THROTTLING: dict[str, tuple[Callable[[DeviceTree], object], int]] = {
    "firmware: under-voltage": (lambda b: b.firmware(0x1), device_condition.UNDER_VOLTAGE),
    "firmware: capped": (lambda b: b.firmware(0x2), device_condition.CAPPED),
    "firmware: throttled": (lambda b: b.firmware(0x4), device_condition.THROTTLED),
    "firmware: soft limit": (lambda b: b.firmware(0x8), device_condition.SOFT_LIMIT),
    "firmware: it happened in between": (lambda b: b.firmware(0x40000), device_condition.THROTTLED),
    "firmware: several": (lambda b: b.firmware(0x50005), 5),
    "cpufreq: the highest clock was lowered": (lambda b: b.ceiling(600), device_condition.CAPPED),
    "cooling device": (
        lambda b: b.put("sys/class/thermal/cooling_device1/cur_state", 2),
        device_condition.COOLING,
    ),
    "thermal counter": (
        lambda b: b.put(f"{CPU}/cpu0/thermal_throttle/core_throttle_count", 9),
        device_condition.COUNTED,
    ),
    "a fan is no throttling": (
        lambda b: b.put("sys/class/thermal/cooling_device0/cur_state", 3),
        0,
    ),
}


@pytest.mark.parametrize(("change", "bits"), THROTTLING.values(), ids=THROTTLING)
def test_throttling(device: DeviceTree, change: Callable[[DeviceTree], object], bits: int) -> None:
    device.put("sys/class/thermal/cooling_device0/type", "pwm-fan")
    device.put("sys/class/thermal/cooling_device0/cur_state", 0)
    device.put("sys/class/thermal/cooling_device1/type", "thermal-cpufreq-0")
    device.put("sys/class/thermal/cooling_device1/cur_state", 0)
    device.put(f"{CPU}/cpu0/thermal_throttle/core_throttle_count", 7)
    watched = Condition(device.root)
    assert watched.sample().throttled == 0
    change(device)
    assert watched.sample().throttled == bits


def test_what_happened_before_the_job_does_not_count(device: DeviceTree) -> None:
    device.firmware(0xF0000)
    device.put(f"{CPU}/cpu0/thermal_throttle/core_throttle_count", 700)
    watched = Condition(device.root)
    assert [watched.sample().throttled for _ in range(3)] == [0, 0, 0]
    device.firmware(0xF0001)
    device.put(f"{CPU}/cpu0/thermal_throttle/core_throttle_count", 701)
    assert watched.sample().throttled == device_condition.UNDER_VOLTAGE | device_condition.COUNTED
    device.firmware(0xF0000)
    assert watched.sample().throttled == 0, "a counter that stands still"


def mouse(device: DeviceTree) -> None:
    """A wireless mouse at a computer without a battery of its own."""
    folder = "sys/class/power_supply/hidpp_battery_0"
    for name, value in {"type": "Battery", "scope": "Device", "status": "Discharging"}.items():
        device.put(f"{folder}/{name}", value)


def test_a_mini_pc_with_a_wireless_mouse_is_not_on_battery(tmp_path: Path) -> None:
    device = DeviceTree(tmp_path)
    mouse(device)
    device.put("sys/class/power_supply/hidpp_battery_0/capacity", 50)
    device.put("sys/class/power_supply/hidpp_battery_0/power_now", 1_000_000)
    # A port that powers a peripheral, and a bay without a battery.
    device.put("sys/class/power_supply/ucsi-source-psy-1/type", "USB")
    device.put("sys/class/power_supply/ucsi-source-psy-1/scope", "Device")
    device.put("sys/class/power_supply/ucsi-source-psy-1/online", 0)
    device.put("sys/class/power_supply/BAT1/type", "Battery")
    device.put("sys/class/power_supply/BAT1/present", 0)
    device.put("sys/class/power_supply/BAT1/status", "Discharging")
    assert Condition(device.root).sample().power_mode == ""
    assert power_sensors.find(device.root).sources == ()
    assert sensors.probe(device.root) == ()


def test_periods_of_a_quota_since_the_last_look(device: DeviceTree) -> None:
    device.cpu_quota(periods=900, throttled=700, quota="200000 100000")
    watched = Condition(device.root)
    assert watched.sample().quota == ThrottleCount(0, 0), "what was before does not count"
    device.cpu_quota(periods=1338, throttled=1048)
    assert watched.sample().quota == ThrottleCount(438, 348)
    assert watched.sample().quota == ThrottleCount(0, 0)


def test_why_no_temperature_counts(tmp_path: Path) -> None:
    device = DeviceTree(tmp_path)
    device.put("sys/class/thermal/thermal_zone0/type", "iwlwifi_1")
    device.put("sys/class/thermal/thermal_zone0/temp", 51_000)
    assert Condition(device.root).unavailable()["temperature_c"] == (
        "no sensor of the SoC; iwlwifi_1: it is a radio or a network card"
    )


MODES: dict[str, tuple[Callable[[DeviceTree], object], str]] = {
    "governor": (lambda b: b.governor("performance"), "governor=performance, power=mains"),
    "nvpmodel": (
        lambda b: b.put("var/lib/nvpmodel/status", "pmode:0002"),
        "governor=powersave, nvpmodel=0002, power=mains",
    ),
    "profile": (
        lambda b: b.put("sys/firmware/acpi/platform_profile", "low-power"),
        "governor=powersave, profile=low-power, power=mains",
    ),
    "boost": (
        lambda b: b.put(f"{CPU}/cpufreq/boost", 0),
        "governor=powersave, boost=0, power=mains",
    ),
    "battery": (
        lambda b: b.power_supply(mains=False, discharging=True),
        "governor=powersave, power=battery",
    ),
    "battery that says nothing": (
        lambda b: b.power_supply(mains=False, discharging=False),
        "governor=powersave, power=battery",
    ),
    "battery of a mouse": (mouse, "governor=powersave, power=mains"),
    "battery that is charged": (
        lambda b: b.power_supply(mains=True, discharging=True),
        "governor=powersave, power=mains",
    ),
}


@pytest.mark.parametrize(("change", "words"), MODES.values(), ids=MODES)
def test_power_modes(
    device: DeviceTree, change: Callable[[DeviceTree], object], words: str
) -> None:
    watched = Condition(device.root)
    change(device)
    assert watched.sample().power_mode == words


def test_the_clock_is_that_of_the_fastest_core(device: DeviceTree) -> None:
    device.clock(2400, policy=4)
    watched = Condition(device.root)
    device.clock(600)
    assert watched.sample().frequency_hz == 2_400_000_000
    device.clock(900, policy=4)
    assert watched.sample().frequency_hz == 900_000_000


def test_swap(device: DeviceTree) -> None:
    watched = Condition(device.root)
    before = watched.sample()
    device.swap(used_mib=3, swapped_pages=1500)
    now = watched.sample()
    assert now.swap_bytes == 3 << 20
    assert (now.swapped_bytes or 0) - (before.swapped_bytes or 0) == 500 * mmap.PAGESIZE


@pytest.mark.parametrize("text", ["", "nan", "-1", "1e9", "\x00\xff", "9" * 5000])
def test_files_that_hold_nonsense(device: DeviceTree, text: str) -> None:
    """Whatever a driver writes, looking goes on."""
    for path in [p for p in device.root.rglob("*") if p.is_file()]:
        path.write_text(text)
    Condition(device.root).sample()
    Condition(device.root).unavailable()
