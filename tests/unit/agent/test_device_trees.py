"""Devices that were once measured wrongly: the facts that follow from their files."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fleetmark_agent.fingerprint import measure
from fleetmark_agent.fingerprint.arm_cores import core_name, implementer_name
from fleetmark_agent.fingerprint.cpu_topology import read_cores
from fleetmark_agent.runner.conditioning.core_selection import choose_cores
from fleetmark_agent.runner.conditioning.doctor import examine_measuring
from fleetmark_agent.runner.telemetry.device_condition import Condition, Reading
from fleetmark_agent.runner.telemetry.temperature import read_temperature
from fleetmark_controller.evaluation import condition, telemetry
from fleetmark_controller.evaluation.thresholds import Thresholds
from fleetmark_core.telemetry_columns import TELEMETRY_COLUMNS
from tests.support import DEVICE_TREES
from tests.support.device_tree import DeviceTree

GIB = 1 << 30


@dataclass(frozen=True)
class Expected:
    """What is right for one tree. `tags` are some, `no_tags` are wrong."""

    cpu: str | None
    usable_cores: int
    tags: set[str] = field(default_factory=set)
    no_tags: set[str] = field(default_factory=set)
    soc: str | None = None
    temperature_c: float | None = None
    left_out: tuple[str, ...] = ()
    quota: str = "none"
    memory_limit_bytes: int | None = None


EXPECTED = {
    "rk3588": Expected(
        "Cortex-A55 + Cortex-A76", 8, {"rk3588", "rock5", "rock5b"}, soc="rockchip,rk3588"
    ),
    "orangepi5": Expected(
        "Cortex-A55 + Cortex-A76", 8, {"rk3588", "orangepi5", "orangepi"}, soc="rockchip,rk3588"
    ),
    "cm4": Expected("Cortex-A72", 4, {"rpi", "rpi4", "cm4"}),
    "pizero2": Expected("Cortex-A53", 4, {"rpi", "rpizero2"}, {"rpi2", "rpi3"}),
    "orin-nano": Expected(
        "Cortex-A78AE", 6, {"jetson", "jetson-orin", "cuda"}, {"jetson-nano"}
    ),
    "amd-hwmon-only": Expected("AMD Ryzen 5 5560U", 1, temperature_c=91.0),
    "broken-temp": Expected(
        None, 1, left_out=("acpitz", "x", "iwlwifi_1", "hwmon1 temp1"),
    ),
    "rtc-hwmon": Expected(
        "Cortex-A72", 4, temperature_c=85.0, left_out=("ds3231 temp1",)
    ),
    "cgroup1-docker-quota": Expected(
        "X", 2, quota="2 cores, by /docker/abc", memory_limit_bytes=GIB
    ),
    "cgroup2-unit-quota": Expected(
        "X",
        2,
        quota="2 cores, by /system.slice/fleetmark-agent.service",
        memory_limit_bytes=GIB,
    ),
}  # fmt: skip


def test_each_tree_has_its_right_values() -> None:
    assert {path.name for path in DEVICE_TREES.iterdir() if path.is_dir()} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_facts(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where a tree lists no core, the agent asks the system.
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    root, expected = DEVICE_TREES / name, EXPECTED[name]
    facts = measure(root, tmp_path)
    assert (facts.cpu.model, facts.cpu.usable_cores) == (expected.cpu, expected.usable_cores)
    assert expected.tags <= set(facts.tags)
    assert not expected.no_tags & set(facts.tags)
    assert facts.board.soc == expected.soc
    assert facts.memory.limit_bytes == expected.memory_limit_bytes
    assert facts.cpu.quota_cores == (2.0 if expected.quota != "none" else None)


@pytest.mark.parametrize("name", EXPECTED)
def test_temperature_and_doctor(name: str) -> None:
    root, expected = DEVICE_TREES / name, EXPECTED[name]
    assert read_temperature(root) == expected.temperature_c
    assert Condition(root).sample().temperature_c == expected.temperature_c
    found = examine_measuring(root)
    assert tuple(found.left_out_sensors) == expected.left_out
    assert all(found.left_out_sensors.values()), "each has its reason"
    assert found.fields()["CPU quota"] == expected.quota
    why = Condition(root).unavailable().get("temperature_c")
    assert (why is None) is (expected.temperature_c is not None)


def test_a_reason_for_each_odd_sensor() -> None:
    assert examine_measuring(DEVICE_TREES / "broken-temp").left_out_sensors == {
        "acpitz": "it gives no reading",
        "x": "it reads -274 °C, which cannot be",
        "iwlwifi_1": "it is a radio or a network card",
        "hwmon1 temp1": "it gives no reading",
    }
    clock = examine_measuring(DEVICE_TREES / "rtc-hwmon")
    assert clock.left_out_sensors == {"ds3231 temp1": "it is a clock chip"}
    assert clock.temperature_sensors == ("cpu-thermal",)
    assert examine_measuring(DEVICE_TREES / "amd-hwmon-only").temperature_sensors == (
        "k10temp Tctl",
    )


def reasons(*readings: Reading) -> dict[str, str]:
    """Return the controller's condition reasons for a run with these readings: texts by code."""
    rows = [
        [n * 1000.0, r.temperature_c, *[None] * (len(TELEMETRY_COLUMNS) - 4),
         r.quota.periods if r.quota else None, r.quota.throttled if r.quota else None]
        for n, r in enumerate(readings)
    ]  # fmt: skip
    seen = telemetry.read(TELEMETRY_COLUMNS, rows)
    found = condition.disturbances(seen, Thresholds())
    return {reason["code"]: reason["text"] for reason in found}


def test_a_temperature_that_only_hwmon_has_reaches_the_verdict() -> None:
    reading = Condition(DEVICE_TREES / "amd-hwmon-only").sample()
    assert reasons(reading) == {"hot": "the device reached 91 °C"}


@pytest.mark.parametrize("version", [1, 2])
def test_throttling_by_a_quota_reaches_the_verdict(tmp_path: Path, version: int) -> None:
    name = "cgroup1-docker-quota" if version == 1 else "cgroup2-unit-quota"
    shutil.copytree(DEVICE_TREES / name, tmp_path, dirs_exist_ok=True)
    group = "cpu/docker/abc" if version == 1 else "system.slice/fleetmark-agent.service"
    device = DeviceTree(tmp_path)
    device.put(f"sys/fs/cgroup/{group}/cpu.stat", "nr_periods 1000\nnr_throttled 900")
    watched = Condition(tmp_path)
    reset_to_healthy = watched.sample()
    assert reasons(reset_to_healthy) == {}
    device.put(f"sys/fs/cgroup/{group}/cpu.stat", "nr_periods 1438\nnr_throttled 1248")
    assert reasons(reset_to_healthy, watched.sample()) == {
        "cpu_quota": "the CPU quota was used up in 348 of 438 periods"
    }


def test_a_jetson_with_a_stuck_power_regulator(tmp_path: Path) -> None:
    """Seen on several Jetsons: PMIC-Die always reads 100 °C."""
    device = DeviceTree(tmp_path)
    zones = {"CPU-therm": 47_500, "GPU-therm": 46_000, "AO-therm": 48_000, "PMIC-Die": 100_000}
    for number, (name, value) in enumerate(zones.items()):
        device.put(f"sys/class/thermal/thermal_zone{number}/type", name)
        device.put(f"sys/class/thermal/thermal_zone{number}/temp", value)
    assert read_temperature(device.root) == 48.0
    assert examine_measuring(device.root).left_out_sensors == {
        "PMIC-Die": "it is a power regulator"
    }


@pytest.mark.parametrize("name", ["rk3588", "orangepi5"])
def test_four_threads_get_the_four_fast_cores(name: str) -> None:
    """The tree names designs only; capacities that differ by 2 % change nothing."""
    cores = read_cores(DEVICE_TREES / name)
    choice = choose_cores(cores, sorted(cores), 4)
    # Without clocks the kinds are equally fast; the last ones are taken.
    assert choice.cores == [4, 5, 6, 7]
    assert [kind.name for kind in choice.kinds] == ["Cortex-A76"]


MODELS = {
    "Raspberry Pi 400 Rev 1.0": {"rpi", "rpi4"},
    "Raspberry Pi 500 Rev 1.0": {"rpi", "rpi5"},
    "Raspberry Pi 3 Model B Plus Rev 1.3": {"rpi", "rpi3"},
    "Raspberry Pi Compute Module 3 Plus Rev 1.0": {"rpi", "rpi3", "cm3"},
    "Raspberry Pi Compute Module 5 Rev 1.0": {"rpi", "rpi5", "cm5"},
    "Raspberry Pi Zero W Rev 1.1": {"rpi", "rpizero"},
    "Raspberry Pi Model B Rev 2": {"rpi"},
    "NVIDIA Jetson AGX Orin Developer Kit": {"jetson", "jetson-orin", "jetson-agx"},
    "NVIDIA Jetson Xavier NX Developer Kit": {"jetson", "jetson-xavier"},
    "NVIDIA Jetson Nano Developer Kit": {"jetson", "jetson-nano"},
    "Radxa ROCK 3A": {"rock3", "rock3a"},
    "Orange Pi 3B": {"orangepi", "orangepi3"},
}


@pytest.mark.parametrize("model", MODELS)
def test_families_of_models(tmp_path: Path, model: str) -> None:
    device = DeviceTree(tmp_path)
    device.put("proc/device-tree/model", model)
    device.put("proc/cpuinfo", "")
    families = {"rpi", "cm", "jetson", "rock", "orangepi"}
    found = {tag for tag in measure(tmp_path, tmp_path).tags if tag.rstrip("0123456789abc") in
             families or tag.startswith(("jetson", "rpi", "cm", "rock", "orangepi"))}  # fmt: skip
    # A program of this name may be a tag, too.
    assert found - {"cmake"} == MODELS[model]


SOCS = {
    "raspberrypi,4-compute-module\0brcm,bcm2711": {"bcm2711", "rpi4"},
    "raspberrypi,5-model-b\0brcm,bcm2712": {"bcm2712", "rpi5"},
    "raspberrypi,model-zero-2-w\0brcm,bcm2837": {"bcm2837"},
    "xunlong,orangepi-5\0rockchip,rk3588s": {"rk3588s", "rk3588"},
    "nvidia,p3768-0000+p3767-0005\0nvidia,p3767-0005\0nvidia,tegra234": {"tegra234"},
    "qcom,sm8150-mtp\0qcom,sm8150": {"sm8150"},
    "hardkernel,odroid-n2\0amlogic,s922x\0amlogic,g12b": {"s922x", "g12b"},
    "starfive,visionfive-2-v1.3b\0starfive,jh7110": {"jh7110"},
    "libretech,all-h3-cc-h5\0allwinner,sun50i-h5": {"sun50i-h5"},
    "linux,dummy-virt": set(),
    "rockchip\0,\0x,\0" + "\0" * 500: set(),
}


@pytest.mark.parametrize("compatible", SOCS, ids=lambda text: text[:40].replace("\0", "|"))
def test_tags_of_systems_on_chips(tmp_path: Path, compatible: str) -> None:
    device = DeviceTree(tmp_path)
    before = set(measure(tmp_path, tmp_path).tags)
    device.put("proc/device-tree/compatible", compatible)
    assert set(measure(tmp_path, tmp_path).tags) - before == SOCS[compatible]


@pytest.mark.parametrize(
    ("implementer", "part", "name"),
    [
        (0x41, 0xD81, "Cortex-A720"),
        (0x41, 0xD80, "Cortex-A520"),
        (0x41, 0xD87, "Cortex-A725"),
        (0x41, 0xD82, "Cortex-X4"),
        (0x41, 0xD85, "Cortex-X925"),
        (0x41, 0xD8F, "Cortex-A320"),
        (0x41, 0xD49, "Neoverse-N2"),
        (0x41, 0xD8E, "Neoverse-N3"),
        (0x41, 0xD4F, "Neoverse-V2"),
        (0x41, 0xD84, "Neoverse-V3"),
        (0x51, 0x804, "Kryo-4XX-Gold"),
        (0x51, 0x001, "Oryon"),
        (0x61, 0x033, "Avalanche-M2"),
        (0xC0, 0xAC3, "Ampere-1"),
        (0x4E, 0x004, "Carmel"),
        (0x4E, 0x003, "Denver-2"),
        (0x53, 0x002, "Exynos-M3"),
        (0x41, 0xFFF, "part 0xfff"),
        (0x99, 0x001, "part 0x1"),
    ],
)
def test_names_of_arm_cores(implementer: int, part: int, name: str) -> None:
    assert core_name(implementer, part) == name
    assert implementer_name(0x99) == "implementer 0x99"
