"""What the device's files say of its condition: every source, by itself and changing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleetmark_agent.runner.telemetry import power_sensors, raspberry_pmic
from fleetmark_agent.runner.telemetry.device_condition import Condition
from fleetmark_agent.runner.telemetry.power_source import PowerSupply
from fleetmark_agent.runner.telemetry.sampler import PowerLog
from tests.support.device_tree import DeviceTree
from tests.support.vendor_devices import PMIC, add_vcgencmd
from tests.unit.agent import test_device_condition as unit

# Fixtures of the unit tests.
device = unit.device


def test_the_program_of_a_raspberry_pi_is_asked_rarely(tmp_path: Path) -> None:
    device = DeviceTree(tmp_path / "root")
    asked = tmp_path / "asked"
    program = device.put(
        "usr/bin/vcgencmd", f"#!/bin/sh\necho $1 >> {asked}\necho throttled=0x50005"
    )
    program.chmod(0o755)
    watched = Condition(device.root)
    assert [watched.sample().throttled for _ in range(5)] == [5] * 5
    assert asked.read_text() == "get_throttled\n"


@pytest.mark.parametrize("output", ["nonsense", "", "throttled=", "throttled=0xzz"])
def test_a_program_that_answers_nonsense(tmp_path: Path, output: str) -> None:
    device = DeviceTree(tmp_path / "root")
    device.put("usr/bin/vcgencmd", f"#!/bin/sh\necho '{output}'\nexit 0").chmod(0o755)
    assert Condition(device.root).sample().throttled == 0
    device.put("usr/bin/vcgencmd", "#!/bin/sh\nexit 1").chmod(0o755)
    assert Condition(device.root).sample().throttled == 0


# Power by the firmware of a Raspberry Pi 5.


def pmic(device: DeviceTree, seconds: list[float]) -> PowerSupply:
    found, why = raspberry_pmic.source(device.root, lambda: seconds[0])
    assert found is not None and why == ""
    return found


def test_the_pmic_of_a_raspberry_pi_covers_the_soc(tmp_path: Path) -> None:
    device = DeviceTree(tmp_path / "root")
    add_vcgencmd(device)
    seconds = [0.0]
    source = pmic(device, seconds)
    assert (source.name, source.scope, source.kind) == ("pmic rails", "soc", "power")
    assert (source.read() or 0) * source.unit == pytest.approx(2.33)
    # It is read once a second, and for the last line of the log.
    assert source.read() is None
    assert source.read_last is not None and source.read_last() == 2_330_000
    seconds[0] = 1.1
    device.put("pmic", PMIC.replace("2.50000000", "1.00000000"))
    assert source.read() == 1_130_000
    assert [s.name for s in power_sensors.find(device.root).sources] == ["pmic rails"]


def test_the_last_line_of_the_log_has_the_pmic(tmp_path: Path) -> None:
    device = DeviceTree(tmp_path / "root")
    add_vcgencmd(device)
    power = PowerLog(tmp_path / "power", power_sensors.find(device.root))
    power.sample()
    power.sample()
    power.sample(last=True)
    rows = [json.loads(line) for line in (tmp_path / "power").read_text().splitlines()[1:]]
    assert [row[1] for row in rows] == [2_330_000, None, 2_330_000]


def test_a_pmic_that_fails_is_left_alone(tmp_path: Path) -> None:
    device = DeviceTree(tmp_path / "root")
    add_vcgencmd(device)
    seconds = [0.0]
    source = pmic(device, seconds)
    asked = tmp_path / "asked"
    program = device.put("usr/bin/vcgencmd", f"#!/bin/sh\necho asked >> {asked}\nexit 1")
    program.chmod(0o755)
    for second in range(10):
        seconds[0] = float(second * 2)
        assert source.read() is None
    assert asked.read_text() == "asked\n" * 3


NO_PMIC = {
    "another model": ("echo 'error=1 error_msg=\"Command not registered\"'", ""),
    "a fault": ("echo 'cannot open device file: /dev/vcio' >&2; exit 255", "/dev/vcio"),
    "nonsense": ("echo current", ""),
}


@pytest.mark.parametrize("case", NO_PMIC)
def test_a_pmic_that_gives_nothing(tmp_path: Path, case: str) -> None:
    script, reason = NO_PMIC[case]
    device = DeviceTree(tmp_path / "root")
    assert raspberry_pmic.source(device.root) == (None, "")
    device.put("usr/bin/vcgencmd", f"#!/bin/sh\n{script}").chmod(0o755)
    found, why = raspberry_pmic.source(device.root)
    assert found is None
    assert (reason in why) if reason else why == ""
