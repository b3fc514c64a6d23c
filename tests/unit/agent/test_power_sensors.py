"""Sensors of power and energy on boards of every kind, as their kernels show them."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path
from typing import Any

import pytest

from fleetmark_agent.runner.telemetry import nvml, power_sensors
from fleetmark_agent.runner.telemetry.sampler import PowerLog
from tests.support.board_tree import BoardTree


@pytest.fixture
def board(tmp_path: Path) -> BoardTree:
    return BoardTree(tmp_path / "root")


def seen(board: BoardTree, input_name: str = "") -> dict[str, tuple[str, str, Any]]:
    """Name → scope, kind and reading in watts or joules."""
    found = power_sensors.find(board.root, input_name)
    values = {}
    for source in found.sources:
        value = source.read()
        shown = None if value is None else round(value * source.unit, 9)
        values[source.name] = (source.scope, source.kind, shown)
    return values


def test_rapl(board: BoardTree) -> None:
    board.rapl("intel-rapl:0", "package-0", 5_000_000)
    board.rapl("intel-rapl:0:0", "core", 3_000_000)
    board.rapl("intel-rapl:0:1", "dram", 1_000_000, 65_712_999_613)
    board.rapl("intel-rapl:1", "psys", 9_000_000)
    board.rapl("intel-rapl-mmio:0", "package-0", 5_000_000)
    assert seen(board) == {
        "rapl package-0": ("cpu", "counter", 5.0),
        "rapl core 0": ("part", "counter", 3.0),
        "rapl dram 0": ("memory", "counter", 1.0),
        "rapl psys 1": ("part", "counter", 9.0),
    }
    dram = next(s for s in power_sensors.find(board.root).sources if "dram" in s.name)
    assert dram.wraps_at == 65_712_999_613


def test_an_ina219_is_the_boards_input_unless_it_says_otherwise(board: BoardTree) -> None:
    chip = "sys/class/hwmon/hwmon2"
    board.put(f"{chip}/name", "ina219")
    board.put(f"{chip}/in1_input", 5100)
    board.put(f"{chip}/curr1_input", 800)
    board.put(f"{chip}/power1_input", 4_080_000)
    assert seen(board) == {"ina219 channel 1": ("board", "power", 4.08)}
    (board.root / chip / "power1_input").unlink()
    assert seen(board) == {"ina219 channel 1": ("board", "power", 4.08)}, "current times voltage"


def test_the_rails_of_a_jetson(board: BoardTree) -> None:
    chip = "sys/class/hwmon/hwmon1"
    board.put(f"{chip}/name", "ina3221")
    for number, (label, millivolts, milliamperes) in enumerate(
        (("VDD_IN", 5000, 1200), ("VDD_CPU_GPU_CV", 5000, 400), ("VDD_SOC", 5000, 300)), 1
    ):
        board.put(f"{chip}/in{number}_label", label)
        board.put(f"{chip}/in{number}_input", millivolts)
        board.put(f"{chip}/curr{number}_input", milliamperes)
    assert seen(board) == {
        "ina3221 VDD_IN": ("board", "power", 6.0),
        "ina3221 VDD_CPU_GPU_CV": ("part", "power", 2.0),
        "ina3221 VDD_SOC": ("part", "power", 1.5),
    }


def test_the_rails_of_an_older_jetson(board: BoardTree) -> None:
    device = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
    for number, (rail, milliwatts) in enumerate((("POM_5V_IN", 2300), ("POM_5V_GPU", 200))):
        board.put(f"{device}/rail_name_{number}", rail)
        board.put(f"{device}/in_power{number}_input", milliwatts)
    assert seen(board) == {
        "ina3221x POM_5V_IN": ("board", "power", 2.3),
        "ina3221x POM_5V_GPU": ("part", "power", 0.2),
    }


def test_a_battery_counts_while_it_discharges(board: BoardTree) -> None:
    folder = "sys/class/power_supply/BAT0"
    board.put(f"{folder}/type", "Battery")
    board.put(f"{folder}/status", "Discharging")
    board.put(f"{folder}/current_now", -1_500_000)
    board.put(f"{folder}/voltage_now", 11_000_000)
    assert seen(board) == {"battery BAT0": ("battery", "power", 16.5)}
    board.put(f"{folder}/power_now", 17_000_000)
    assert seen(board)["battery BAT0"][2] == 17.0
    board.put(f"{folder}/status", "Charging")
    assert seen(board) == {"battery BAT0": ("battery", "power", None)}


def test_two_of_a_name_and_an_input_that_people_name(board: BoardTree) -> None:
    for number, power in ((0, 1_000_000), (1, 7_000_000)):
        chip = f"sys/class/hwmon/hwmon{number}"
        board.put(f"{chip}/name", "ina226x")
        board.put(f"{chip}/power1_input", power)
    names = ("ina226x channel 1", "ina226x channel 1 #2")
    assert [(n, s[0]) for n, s in seen(board).items()] == [(n, "part") for n in names]
    assert seen(board, names[1])[names[1]] == ("board", "power", 7.0)
    found = power_sensors.find(board.root, "ina226x")
    assert found.unavailable == (f"ina226x: no such sensor (there are: {', '.join(names)})",)


def test_no_sensor_is_a_reason(board: BoardTree) -> None:
    found = power_sensors.find(board.root)
    assert found == power_sensors.PowerSensor((), ("the device has no power or energy sensor",))
    board.rapl("intel-rapl:0", "package-0", 5)
    board.put("sys/class/powercap/intel-rapl:0/energy_uj", "")
    found = power_sensors.find(board.root)
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


def test_the_log_of_power(board: BoardTree, tmp_path: Path) -> None:
    path = tmp_path / "power.jsonl"
    PowerLog(path, power_sensors.find(board.root)).sample()
    assert not path.exists(), "nothing is written where there is nothing to read"
    board.rapl("intel-rapl:0", "package-0", 100)
    log = PowerLog(path, power_sensors.find(board.root))
    log.sample()
    board.rapl("intel-rapl:0", "package-0", 300)
    log.sample()
    head, first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert [source["name"] for source in head["sources"]] == ["rapl package-0"]
    assert (first[1], second[1]) == (100, 300)
    assert 0 <= first[0] < second[0] < 60e9
