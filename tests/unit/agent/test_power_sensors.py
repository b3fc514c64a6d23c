"""Sensors of power and energy on devices of every kind, as their kernels show them."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path
from typing import Any

import pytest

from fleetmark_agent.runner.telemetry import nvml, power_sensors
from fleetmark_agent.runner.telemetry.accelerator_readings import (
    AcceleratorReadings,
    npu_load_percent,
)
from fleetmark_agent.runner.telemetry.sampler import PowerLog
from tests.support.device_tree import DeviceTree


@pytest.fixture
def device(tmp_path: Path) -> DeviceTree:
    return DeviceTree(tmp_path / "root")


def seen(device: DeviceTree, input_name: str = "") -> dict[str, tuple[str, str, Any]]:
    """Name → scope, kind and reading in watts or joules."""
    found = power_sensors.find(device.root, input_name)
    values = {}
    for source in found.sources:
        value = source.read()
        shown = None if value is None else round(value * source.unit, 9)
        values[source.name] = (source.scope, source.kind, shown)
    return values


def test_rapl(device: DeviceTree) -> None:
    device.rapl("intel-rapl:0", "package-0", 5_000_000)
    device.rapl("intel-rapl:0:0", "core", 3_000_000)
    device.rapl("intel-rapl:0:1", "dram", 1_000_000, 65_712_999_613)
    device.rapl("intel-rapl:1", "psys", 9_000_000)
    device.rapl("intel-rapl-mmio:0", "package-0", 5_000_000)
    assert seen(device) == {
        "rapl package-0": ("cpu", "counter", 5.0),
        "rapl core 0": ("part", "counter", 3.0),
        "rapl dram 0": ("memory", "counter", 1.0),
        "rapl psys 1": ("part", "counter", 9.0),
    }
    dram = next(s for s in power_sensors.find(device.root).sources if "dram" in s.name)
    assert dram.wraps_at == 65_712_999_613


def test_an_ina219_is_the_devices_input_unless_it_says_otherwise(device: DeviceTree) -> None:
    chip = "sys/class/hwmon/hwmon2"
    device.put(f"{chip}/name", "ina219")
    device.put(f"{chip}/in1_input", 5100)
    device.put(f"{chip}/curr1_input", 800)
    device.put(f"{chip}/power1_input", 4_080_000)
    assert seen(device) == {"ina219 channel 1": ("board", "power", 4.08)}
    (device.root / chip / "power1_input").unlink()
    assert seen(device) == {"ina219 channel 1": ("board", "power", 4.08)}, "current times voltage"


def test_the_rails_of_a_jetson(device: DeviceTree) -> None:
    chip = "sys/class/hwmon/hwmon1"
    device.put(f"{chip}/name", "ina3221")
    for number, (label, millivolts, milliamperes) in enumerate(
        (("VDD_IN", 5000, 1200), ("VDD_CPU_GPU_CV", 5000, 400), ("VDD_SOC", 5000, 300)), 1
    ):
        device.put(f"{chip}/in{number}_label", label)
        device.put(f"{chip}/in{number}_input", millivolts)
        device.put(f"{chip}/curr{number}_input", milliamperes)
    assert seen(device) == {
        "ina3221 VDD_IN": ("board", "power", 6.0),
        "ina3221 VDD_CPU_GPU_CV": ("part", "power", 2.0),
        "ina3221 VDD_SOC": ("part", "power", 1.5),
    }


def lay_rails(device: DeviceTree, chip: str, rails: dict[int, tuple[str, int, int]]) -> None:
    device.put(f"{chip}/name", "ina3221")
    for number, (label, millivolts, milliamperes) in rails.items():
        device.put(f"{chip}/in{number}_label", label)
        device.put(f"{chip}/in{number}_input", millivolts)
        device.put(f"{chip}/curr{number}_input", milliamperes)


def test_shunt_voltages_and_channels_that_are_not_connected_are_no_rails(
    device: DeviceTree,
) -> None:
    chip = "sys/class/hwmon/hwmon1"
    lay_rails(device, chip, {1: ("VDD_IN", 5000, 1200), 2: ("NC", 5000, 8)})
    # The kernel's driver: in4 to in6 are shunt voltages, in7 their sum, curr4 a sum of currents.
    device.put(f"{chip}/in4_input", 6)
    device.put(f"{chip}/curr4_input", 1200)
    device.put(f"{chip}/in7_label", "sum of shunt voltages")
    device.put(f"{chip}/in7_input", 6)
    device.put(f"{chip}/curr7_input", 9)
    assert seen(device) == {"ina3221 VDD_IN": ("board", "power", 6.0)}


AGX_ORIN = {1: ("VDD_GPU_SOC", 19000, 200), 2: ("VDD_CPU_CV", 19000, 100),
            3: ("VIN_SYS_5V0", 5000, 900)}  # fmt: skip


def test_a_module_without_a_rail_for_its_input_is_the_sum_of_its_supplies(
    device: DeviceTree,
) -> None:
    lay_rails(device, "sys/class/hwmon/hwmon1", AGX_ORIN)
    # This rail is supplied by VIN_SYS_5V0: it must not count twice.
    lay_rails(device, "sys/class/hwmon/hwmon2", {1: ("NC", 0, 0), 2: ("VDDQ_VDD2_1V8AO", 5000, 80)})
    found = seen(device)
    assert found["ina3221 VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0"] == ("module", "power", 10.2)
    assert {scope for scope, _, _ in found.values()} == {"module", "part"}, "none is the whole"
    assert len(found) == 5
    # A rail that cannot be read is no zero in the sum.
    total = next(s for s in power_sensors.find(device.root).sources if s.scope == "module")
    device.put("sys/class/hwmon/hwmon1/in2_input", "")
    assert total.read() is None
    assert not [s for s in power_sensors.find(device.root).sources if s.scope == "module"]


def test_no_sum_beside_a_rail_for_the_input(device: DeviceTree) -> None:
    lay_rails(device, "sys/class/hwmon/hwmon1", AGX_ORIN)
    device.put("sys/class/hwmon/hwmon3/name", "ina238")
    device.put("sys/class/hwmon/hwmon3/power1_input", 20_000_000)
    assert [n for n, (scope, _, _) in seen(device).items() if scope in ("board", "module")] == [
        "ina238 channel 1"
    ]


def test_the_rails_of_an_older_jetson(device: DeviceTree) -> None:
    folder = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
    for number, (rail, milliwatts) in enumerate((("POM_5V_IN", 2300), ("POM_5V_GPU", 200))):
        device.put(f"{folder}/rail_name_{number}", rail)
        device.put(f"{folder}/in_power{number}_input", milliwatts)
    assert seen(device) == {
        "ina3221x POM_5V_IN": ("board", "power", 2.3),
        "ina3221x POM_5V_GPU": ("part", "power", 0.2),
    }


def test_a_battery_counts_while_it_discharges(device: DeviceTree) -> None:
    folder = "sys/class/power_supply/BAT0"
    device.put(f"{folder}/type", "Battery")
    device.put(f"{folder}/status", "Discharging")
    device.put(f"{folder}/current_now", -1_500_000)
    device.put(f"{folder}/voltage_now", 11_000_000)
    assert seen(device) == {"battery BAT0": ("battery", "power", 16.5)}
    device.put(f"{folder}/power_now", 17_000_000)
    assert seen(device)["battery BAT0"][2] == 17.0
    device.put(f"{folder}/status", "Charging")
    assert seen(device) == {"battery BAT0": ("battery", "power", None)}


def test_two_of_a_name_and_an_input_that_operators_name(device: DeviceTree) -> None:
    for number, power in ((0, 1_000_000), (1, 7_000_000)):
        chip = f"sys/class/hwmon/hwmon{number}"
        device.put(f"{chip}/name", "ina226x")
        device.put(f"{chip}/power1_input", power)
    names = ("ina226x channel 1", "ina226x channel 1 #2")
    assert [(n, s[0]) for n, s in seen(device).items()] == [(n, "part") for n in names]
    assert seen(device, names[1])[names[1]] == ("board", "power", 7.0)
    found = power_sensors.find(device.root, "ina226x")
    assert found.unavailable == (f"ina226x: no such sensor (there are: {', '.join(names)})",)


def test_no_sensor_is_a_reason(device: DeviceTree) -> None:
    found = power_sensors.find(device.root)
    assert found == power_sensors.PowerSensor((), ("the device has no power or energy sensor",))
    device.rapl("intel-rapl:0", "package-0", 5)
    device.put("sys/class/powercap/intel-rapl:0/energy_uj", "")
    found = power_sensors.find(device.root)
    assert found.sources == ()
    assert found.unavailable == ("rapl package-0: it gives no reading",)


class FakeNvml:
    """What NVIDIA's library answers, by its calling convention."""

    def __init__(self, millijoules: int | None, milliwatts: int | None, count: int = 1) -> None:
        self.values = {
            "nvmlDeviceGetTotalEnergyConsumption": millijoules,
            "nvmlDeviceGetPowerUsage": milliwatts,
        }
        self.count = count

    def __getattr__(self, name: str) -> Any:
        def function(*arguments: Any) -> int:
            if name == "nvmlDeviceGetCount_v2":
                arguments[0]._obj.value = self.count
            elif name in self.values:
                value = self.values[name]
                if value is None:
                    return 3  # NVML_ERROR_NOT_SUPPORTED
                arguments[1]._obj.value = value
            return 0

        return function


def test_nvml() -> None:
    (counter,) = nvml.sources(lambda _: FakeNvml(123_000, 50_000))
    assert (counter.kind, counter.scope, counter.read()) == ("counter", "gpu", 123_000)
    (power,) = nvml.sources(lambda _: FakeNvml(None, 50_000))
    assert (power.kind, (power.read() or 0) * power.unit) == ("power", 50.0)
    assert nvml.sources(lambda _: FakeNvml(None, None)) == []
    assert len(nvml.sources(lambda _: FakeNvml(1, 1, count=3))) == 3

    def absent(name: str) -> Any:
        return ctypes.CDLL(f"no-such-{name}")

    assert nvml.sources(absent) == []
    assert nvml.sources(lambda _: object()) == [], "another library of this name"


class FakeClocks(FakeNvml):
    """A library that also tells clocks; `reasons` are the bits for which they are lowered."""

    def __init__(self, reasons: int | None) -> None:
        super().__init__(None, None)
        self.values["nvmlDeviceGetCurrentClocksThrottleReasons"] = reasons

    def nvmlDeviceGetClockInfo(self, _: Any, domain: Any, value: Any) -> int:
        value._obj.value = {1: 1980, 2: 2619}[domain.value]
        return 0


def test_clocks_by_nvml() -> None:
    clocks = nvml.clocks(lambda _: FakeClocks(4))
    assert {name: read() for name, read in clocks.items()} == {
        "nvml gpu 0 sm_mhz": 1980,
        "nvml gpu 0 memory_mhz": 2619,
    }
    reasons = nvml.throttle_reasons(lambda _: FakeClocks(4))
    assert {name: read() for name, read in reasons.items()} == {"nvml gpu 0": 4}
    assert nvml.throttle_reasons(lambda _: FakeClocks(None)) == {}
    for absent in (nvml.clocks, nvml.throttle_reasons):
        assert absent(lambda name: ctypes.CDLL(f"no-such-{name}")) == {}
        assert absent(lambda _: object()) == {}


def test_clocks_and_load_of_accelerators(device: DeviceTree) -> None:
    assert AcceleratorReadings(device.root).summary() == {}
    load = "sys/kernel/debug/rknpu/load"
    device.put(load, "NPU load:  Core0: 82%, Core1: 82%, Core2: 85%,")
    device.put("sys/class/devfreq/fdab0000.npu/cur_freq", 1_000_000_000)
    device.put("sys/class/devfreq/dmc/cur_freq", 2_112_000_000)
    device.put("sys/devices/platform/bus@0/17000000.gpu/load", 512)
    readings = AcceleratorReadings(device.root)
    readings.sample()
    device.put(load, "NPU load:  Core0:  0%, Core1:  0%, Core2:  0%,")
    device.put("sys/class/devfreq/fdab0000.npu/cur_freq", "")
    readings.sample()
    assert readings.summary() == {
        "rknpu load_percent": {"min": 0.0, "mean": 41.5, "max": 83.0},
        "fdab0000.npu clock_mhz": {"min": 1000.0, "mean": 1000.0, "max": 1000.0},
        "gpu load_percent": {"min": 51.2, "mean": 51.2, "max": 51.2},
    }
    due = []
    for _ in range(3, 121):
        readings.sample()
        due.append(readings.is_due())
    assert [number for number, is_due in enumerate(due, 3) if is_due] == [4, 8, 16, 32, 60, 64, 120]
    device.put(load, "NPU load:  45%")
    assert npu_load_percent(device.root) == 45


def test_the_log_of_power(device: DeviceTree, tmp_path: Path) -> None:
    path = tmp_path / "power.jsonl"
    PowerLog(path, power_sensors.find(device.root)).sample()
    assert not path.exists(), "nothing is written where there is nothing to read"
    device.rapl("intel-rapl:0", "package-0", 100)
    log = PowerLog(path, power_sensors.find(device.root))
    log.sample()
    device.rapl("intel-rapl:0", "package-0", 300)
    log.sample()
    head, first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert [source["name"] for source in head["sources"]] == ["rapl package-0"]
    assert (first[1], second[1]) == (100, 300)
    assert 0 <= first[0] < second[0] < 60e9
