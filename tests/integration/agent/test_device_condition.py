"""What the device's files say of its condition: every source, by itself and changing."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetmark_agent.runner.telemetry.device_condition import Condition
from tests.support.device_tree import DeviceTree
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
