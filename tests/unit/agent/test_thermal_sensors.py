"""Which temperature sensors count: by name, by what is possible, by what never changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_agent.fingerprint.thermal_sensors import (
    HIGHEST_C,
    LOWEST_C,
    choose_sensors,
    find_sensors,
    hottest_c,
    possible_c,
    stuck_sensors,
)
from fleetmark_agent.runner.telemetry import temperature_log
from fleetmark_agent.runner.telemetry.temperature import (
    LastingThermometer,
    Thermometer,
    read_temperature,
)
from fleetmark_core.telemetry_columns import TELEMETRY_COLUMNS
from tests.support.device_tree import DeviceTree


def zones(root: Path, **readings: object) -> DeviceTree:
    """Thermal zones by name, in thousandths of a degree."""
    device = DeviceTree(root)
    for number, (name, value) in enumerate(readings.items()):
        device.put(f"sys/class/thermal/thermal_zone{number}/type", name)
        device.put(f"sys/class/thermal/thermal_zone{number}/temp", value)
    return device


def chip(device: DeviceTree, number: int, name: str, **readings: object) -> None:
    """A hwmon chip; readings by label."""
    folder = f"sys/class/hwmon/hwmon{number}"
    device.put(f"{folder}/name", name)
    for place, (label, value) in enumerate(readings.items(), 1):
        device.put(f"{folder}/temp{place}_label", label)
        device.put(f"{folder}/temp{place}_input", value)


SOC = [
    "cpu-thermal",
    "cpu_thermal",
    "x86_pkg_temp",
    "soc-thermal",
    "bigcore0-thermal",
    "tj-thermal",
    "CPU-therm",
    "AO-therm",
    "GPU-therm",
    "PLL-therm",
    "Tdiode_tegra",
    "cpu-0-0-usr",
    "gpuss-0",
    "littlecore-thermal",
    "package-thermal",
    "center-thermal",
    "npu-thermal",
    "mtktscpu",
    "BIG",
    "soc_thermal",
    "cv0-thermal",
    "TCPU",
    "B0D4",
    "main0-thermal",
    "LITTLE",
    "G3D",
    "SOC0-therm",
    "tsens_tz_sensor1",
    "zenpower",
]
FOREIGN = [
    "PMIC-Die",
    "pm8150_tz",
    "pmk8350-tz",
    "battery",
    "BAT0",
    "bms",
    "charger",
    "iwlwifi_1",
    "mt7921_phy0",
    "nvme",
    "quiet-therm",
    "xo-therm",
    "skin-therm",
    "Tboard_tegra",
    "pch_cannonlake",
    "thermal-fan-est",
    "INT3400 Thermal",
    "ambient",
    "mdm-core",
    "mtktsbattery",
    "mtktspmic",
    "ddr-thermal",
    "wlan",
    "modem-0",
    "usb-conn",
    "TMEM",
    "SEN1",
    "rp1_adc",
    "ds3231",
    "sys-therm",
    "nct6775 SYSTIN",
    "ath10k_hwmon",
    "drivetemp",
    "jc42",
    "fuel-gauge",
    "power-supply",
    "vdd_power",
]


@pytest.mark.parametrize("name", SOC)
def test_names_of_the_soc(tmp_path: Path, name: str) -> None:
    device = zones(tmp_path, **{name: 50_000, "acpitz": 99_000})
    assert read_temperature(device.root) == 50.0
    assert list(Thermometer(tmp_path).choice.left_out) == ["acpitz"]


@pytest.mark.parametrize("name", FOREIGN)
def test_names_of_other_parts(tmp_path: Path, name: str) -> None:
    zones(tmp_path, **{name: 99_000})
    assert read_temperature(tmp_path) is None
    (why,) = Thermometer(tmp_path).choice.left_out.values()
    assert why.startswith("it is ")


def test_unknown_names_count_where_no_other_does(tmp_path: Path) -> None:
    device = zones(tmp_path, **{"zone-a": 61_000, "whatever": 40_000})
    assert read_temperature(tmp_path) == 61.0
    chip(device, 0, "coretemp", **{"Package id 0": 47_000, "Core 0": 46_000})
    chip(device, 1, "nvme", Composite=81_000)
    chip(device, 2, "amdgpu", edge=88_000)
    assert read_temperature(tmp_path) == 47.0
    assert set(Thermometer(tmp_path).choice.left_out) == {
        *("zone-a", "whatever", "nvme Composite", "amdgpu edge"),
    }


def test_a_zone_of_the_firmware_counts_only_without_any_other_sensor(tmp_path: Path) -> None:
    device = zones(tmp_path, acpitz=16_800)
    assert read_temperature(tmp_path) == 16.8
    chip(device, 0, "acpitz", temp1=16_800)
    chip(device, 1, "whatever", temp1=12_000)
    assert read_temperature(tmp_path) == 12.0
    assert "other sensors" in Thermometer(tmp_path).choice.left_out["acpitz"]
    chip(device, 2, "zenpower", Tdie=71_000, Tctl=81_000, Tccd1=70_000)
    assert read_temperature(tmp_path) == 71.0
    left_out = Thermometer(tmp_path).choice.left_out
    assert set(left_out) == {"acpitz", "whatever temp1", "zenpower Tctl"}


@pytest.mark.parametrize("value", [45, 125, 450, 1250, -10, -100, 0, 1])
def test_a_sensor_that_does_not_count_in_thousandths(tmp_path: Path, value: int) -> None:
    """Whole and tenths of a degree would read as about 0 °C."""
    device = zones(tmp_path, **{"tsens_tz_sensor1": value})
    assert read_temperature(tmp_path) is None
    (why,) = Thermometer(tmp_path).choice.left_out.values()
    assert why == f"it reads {value}: too close to zero for thousandths of a degree"
    chip(device, 0, "coretemp", **{"Core 0": 1_251})
    assert read_temperature(tmp_path) == 1.251


def test_a_reading_near_zero_never_counts(tmp_path: Path) -> None:
    device = zones(tmp_path, **{"cpu-thermal": 5_000})
    thermometer = LastingThermometer(tmp_path)
    assert thermometer.celsius() == 5.0
    device.put("sys/class/thermal/thermal_zone0/temp", 450)
    assert thermometer.celsius() is None
    assert hottest_c({"a": 0.45, "b": -3.0}) == -3.0
    assert stuck_sensors(looks(90, a=0.045), under_load=True) == {}


@pytest.mark.parametrize("value", [-274_000, -256_000, 127_937, 255_000, "", "abc", "9" * 5000])
def test_a_sensor_of_the_soc_that_does_not_work(tmp_path: Path, value: object) -> None:
    device = zones(tmp_path, **{"cpu-thermal": value})
    assert read_temperature(tmp_path) is None
    chip(device, 0, "unknown", temp1=44_000)
    assert read_temperature(tmp_path) == 44.0, "then one of an unknown name is better than none"


def test_a_scale_for_the_fan_is_no_temperature(tmp_path: Path) -> None:
    device = DeviceTree(tmp_path)
    chip(device, 0, "k10temp", Tctl=95_000, Tdie=68_000)
    assert read_temperature(tmp_path) == 68.0
    chip(device, 0, "k10temp", Tctl=95_000, Tccd1=60_000)
    assert read_temperature(tmp_path) == 95.0


def test_a_zone_is_not_counted_again_as_a_chip(tmp_path: Path) -> None:
    device = zones(tmp_path, **{"cpu-thermal": 50_000})
    chip(device, 0, "cpu_thermal", temp1=50_000)
    assert [sensor.name for sensor in find_sensors(tmp_path)] == ["cpu-thermal"]
    chip(device, 1, "nvme", Composite=1)
    chip(device, 2, "nvme", Composite=2)
    names = [sensor.name for sensor in find_sensors(tmp_path)]
    assert names == ["cpu-thermal", "nvme Composite", "nvme Composite #2"]


def test_each_sensor_has_a_name_of_its_own(tmp_path: Path) -> None:
    device = DeviceTree(tmp_path)
    for number, name in enumerate(("cpu", "cpu #2", "cpu", "cpu")):
        device.put(f"sys/class/thermal/thermal_zone{number}/type", name)
        device.put(f"sys/class/thermal/thermal_zone{number}/temp", 40_000 + number)
    names = [sensor.name for sensor in find_sensors(tmp_path)]
    assert names == ["cpu", "cpu #2", "cpu #3", "cpu #4"]


# Over time.


def looks(count: int, step_s: float = 1.0, **sensors: Any) -> list[tuple[float, dict[str, Any]]]:
    """Readings by sensor: one constant number, or a function of the reading's number."""
    return [
        (n * step_s, {name: s(n) if callable(s) else s for name, s in sensors.items()})
        for n in range(count)
    ]


def rising(number: int) -> float:
    return 40.0 + number / 2


def test_a_sensor_that_never_changes_is_stuck() -> None:
    found = stuck_sensors(looks(40, board=100.0, cpu=rising))
    assert found == {"board": "it read 100.0 °C for 39 s, while others changed by 19.5 °C"}
    assert stuck_sensors(looks(20, board=100.0, cpu=rising)) == {}, "too short to tell"
    assert stuck_sensors(looks(5, 10.0, board=100.0, cpu=rising)) == {}, "too few to tell"
    assert stuck_sensors(looks(40, board=100.0)) == {}, "nothing else changed"
    assert stuck_sensors(looks(500, board=45.0)) == {}, "an idle device keeps its temperature"
    assert stuck_sensors(looks(60, board=100.0), under_load=True) == {}
    assert stuck_sensors(looks(61, board=100.0), under_load=True) == {
        "board": "it read 100.0 °C for 60 s"
    }
    steady = looks(90, cpu=lambda n: 71.0 + n % 2 / 10)
    assert stuck_sensors(steady, under_load=True) == {}
    assert stuck_sensors(looks(90, gone=None, odd=-274.0), under_load=True) == {}
    assert stuck_sensors([]) == {}


@given(
    st.lists(
        st.tuples(
            st.floats(0, 1000),
            st.dictionaries(
                st.sampled_from("abc"),
                st.none() | st.floats(allow_nan=True) | st.sampled_from([50.0, 100.0]),
            ),
        ),
        max_size=60,
    )
)
def test_any_readings(series: list[tuple[float, dict[str, float | None]]]) -> None:
    series.sort(key=lambda look: look[0])
    stuck = stuck_sensors(series)
    for name, why in stuck.items():
        seen = {look.get(name) for _, look in series} - {None}
        assert len([v for v in seen if possible_c(v) is not None]) == 1
        assert why
    for _, look in series:
        hottest = hottest_c(look, stuck)
        assert hottest is None or LOWEST_C <= hottest <= HIGHEST_C


def test_an_agent_learns_which_sensors_never_change(tmp_path: Path) -> None:
    now_s = 0.0
    device = zones(tmp_path, **{"zone-a": 40_000, "zone-b": 100_000})
    thermometer = LastingThermometer(tmp_path, lambda: now_s)
    assert thermometer.celsius() == 100.0
    for number in range(10):
        now_s += 15.0
        device.put("sys/class/thermal/thermal_zone0/temp", 40_000 + 500 * number)
        seen = thermometer.celsius()
    assert seen == 44.5 and list(thermometer.history.stuck()) == ["zone-b"]
    device.put("sys/class/thermal/thermal_zone1/temp", 99_000)
    assert thermometer.celsius() == 99.0, "it does change"
    # A driver that is loaded later.
    device.put("sys/class/thermal/thermal_zone2/type", "cpu-thermal")
    device.put("sys/class/thermal/thermal_zone2/temp", 51_000)
    now_s += 600.0
    assert thermometer.celsius() == 51.0


def run(
    count: int, context: dict[str, Any], **sensors: Any
) -> tuple[list[list[Any]], dict[str, Any], dict[str, Any]]:
    """What becomes of a log: rows, notes and the temperatures of the provenance."""
    names = sorted(sensors)
    series = looks(count, **sensors)
    rows = [
        [at_s * 1000, hottest_c(look), *[None] * (len(TELEMETRY_COLUMNS) - 2)]
        for at_s, look in series
    ]
    notes: dict[str, Any] = {
        "temperature_sensors": names,
        "temperature_left_out": {"nvme": "it is a disk"},
        "unavailable": {},
    }
    readings = [[look[name] for name in names] for _, look in series]
    found = temperature_log.evaluate(rows, readings, notes, json.loads(json.dumps(context)))
    return rows, notes, found


def test_a_run_leaves_a_stuck_sensor_out_from_its_beginning() -> None:
    start = {"temperature_c": 100.0, "temperatures_c": {"cpu": 40.0, "die": 100.0}}
    rows, notes, found = run(60, start, cpu=rising, die=100.0)
    assert [row[1] for row in rows] == [rising(n) for n in range(60)]
    assert (found["start_c"], found["max_c"], found["sensors"]) == (40.0, 69.5, ["cpu"])
    assert found["left_out"] == {
        "nvme": "it is a disk",
        "die": "it read 100.0 °C for 59 s, while others changed by 29.5 °C",
    }
    assert notes == {"unavailable": {}}


def test_a_run_whose_only_sensor_is_stuck_has_no_temperature() -> None:
    start = {"temperature_c": 100.0, "temperatures_c": {"die": 100.0}}
    rows, notes, found = run(70, start, die=100.0)
    assert (found["start_c"], found["max_c"], found["sensors"]) == (None, None, [])
    assert {row[1] for row in rows} == {None}
    assert notes["unavailable"]["temperature_c"] == "die: it read 100.0 °C for 69 s"


def test_a_short_run_uses_the_readings_before_it() -> None:
    stuck = {"stuck_sensors": {"die": "it read 100.0 °C for 30 s"}}
    start = {"temperature_c": 40.0, "temperatures_c": {"cpu": 40.0, "die": 100.0}, **stuck}
    _, _, found = run(5, start, cpu=rising, die=100.0)
    assert (found["start_c"], found["max_c"]) == (40.0, 42.0)
    assert "die" in found["left_out"]
    _, _, moved = run(5, start, cpu=rising, die=lambda n: 99.0 + n % 2)
    assert moved["max_c"] == 100.0 and "die" not in moved["left_out"]


def test_a_log_of_an_older_agent_is_as_it_was() -> None:
    rows = [[0, 44.0, *[None] * (len(TELEMETRY_COLUMNS) - 2)]]
    found = temperature_log.evaluate(rows, [[]], {}, {"temperature_c": 41.5})
    assert found == {"start_c": 41.5, "max_c": 44.0, "sensors": [], "left_out": {}}


@given(st.binary(max_size=12), st.text(max_size=70), st.text(max_size=20))
def test_any_files(
    tmp_path_factory: pytest.TempPathFactory, reading: bytes, name: str, label: str
) -> None:
    root = tmp_path_factory.mktemp("tree")
    device = DeviceTree(root)
    for folder, file in (("thermal/thermal_zone0", "temp"), ("hwmon/hwmon0", "temp1_input")):
        path = device.put(f"sys/class/{folder}/{file}", "")
        path.write_bytes(reading)
        for text in ("type", "name", "temp1_label"):
            path.with_name(text).write_bytes((name + label).encode("utf-8", "surrogatepass"))
    choice = choose_sensors(find_sensors(root))
    names = [sensor.name for sensor in choice.used] + list(choice.left_out)
    assert len(names) == len(set(names)) and all(map(str.isprintable, names))
    found = read_temperature(root)
    assert found is None or LOWEST_C <= found <= HIGHEST_C
