"""Rules about the programs and drivers of vendors, in every verdict that they can give."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.detection_devices import DetectionDevice
from tests.support.vendor_devices import JetsonDevice, add_vcgencmd

RELEASE = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n"
OLD = "# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref\n"


@pytest.fixture
def device(tmp_path: Path) -> DetectionDevice:
    return DetectionDevice(tmp_path)


@pytest.fixture
def jetson(device: DetectionDevice) -> JetsonDevice:
    return JetsonDevice(device.root)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("# R35 (release), REVISION: 6.0, GCID: 1, BOARD: generic", ("35.6.0", "5")),
        (RELEASE, ("36.4.3", "6")),
        ("# R38 (release), REVISION: 2.0, GCID: 1, BOARD: generic", ("38.2.0", "7")),
        ("# R39 (release), REVISION: 1, GCID: 1, BOARD: generic", ("39.1", "7")),
        ("# R99 (release), REVISION: 1.0, GCID: 1, BOARD: generic", ("99.1.0", None)),
    ],
)
def test_jetson_linux(device: DetectionDevice, text: str, found: tuple[str, str | None]) -> None:
    assert device.verdicts("jetson-linux") == [("absent", "")]
    device.file("etc/nv_tegra_release", text)
    [finding] = device.find("jetson-linux")
    assert finding.verdict.value == "found", finding
    assert (finding.version, finding.details.get("jetpack")) == found
    device.file("etc/nv_tegra_release", OLD)
    assert device.verdicts("jetson-linux") == [("wrong version", "32.7.1")]
    device.file("etc/nv_tegra_release", "nothing of interest")
    assert device.verdicts("jetson-linux") == [("broken", "")]


def test_nvpmodel(device: DetectionDevice) -> None:
    assert device.verdicts("nvpmodel") == [("absent", "")]
    jetson = JetsonDevice(device.root)
    [finding] = device.find("nvpmodel")
    assert (finding.verdict.value, finding.version) == ("found", "36.4.3"), finding
    assert finding.details == {"modes": "15W 7W MAXN_SUPER", "mode": "15W"}
    assert all(call == "nvpmodel -q" for call in jetson.calls()), "nothing was changed"
    device.file("etc/nv_tegra_release", OLD)
    assert device.verdicts("nvpmodel") == [("wrong version", "32.7.1")]
    device.file("etc/nv_tegra_release", RELEASE)
    device.file("etc/nvpmodel.conf", "")
    [finding] = device.find("nvpmodel")
    assert finding.verdict.value == "broken"
    assert finding.reason == "exit code 1: /etc/nvpmodel.conf names no power mode"


def test_jetson_clocks(device: DetectionDevice) -> None:
    assert device.verdicts("jetson-clocks") == [("absent", "")]
    jetson = JetsonDevice(device.root)
    assert device.verdicts("jetson-clocks") == [("found", "36.4.3")]
    assert jetson.calls() == ["jetson_clocks --help"], "nothing was changed"
    device.file("etc/nv_tegra_release", OLD)
    assert device.verdicts("jetson-clocks") == [("wrong version", "32.7.1")]
    (device.root / "etc/nv_tegra_release").unlink()
    assert device.verdicts("jetson-clocks") == [("broken", "")]


BROKEN = ("exit 7", "kill -SEGV $$", "echo something else", "exec /nowhere/else")


@pytest.mark.parametrize("script", BROKEN)
def test_programs_of_a_jetson_that_do_not_run(jetson: JetsonDevice, script: str) -> None:
    device = DetectionDevice.__new__(DetectionDevice)
    device.root, device.bin = jetson.root, jetson.root / "usr/bin"
    device.program("jetson_clocks", script)
    device.bin = jetson.root / "usr/sbin"
    device.program("nvpmodel", script)
    found = device.find("nvpmodel", "jetson-clocks")
    assert [finding.verdict.value for finding in found] == ["broken", "broken"], found
    assert all(finding.reason for finding in found)


def test_vcgencmd(device: DetectionDevice) -> None:
    assert device.verdicts("vcgencmd") == [("absent", "")]
    tree = JetsonDevice(device.root)
    program = add_vcgencmd(tree)
    [finding] = device.find("vcgencmd")
    assert (finding.verdict.value, finding.version) == ("found", "2024.9.10"), finding
    assert finding.details == {"throttled": "0x50005", "pmic": "yes"}
    add_vcgencmd(tree, pmic='error=1 error_msg="Command not registered"')
    assert device.find("vcgencmd")[0].details["pmic"] == "no"
    script = program.read_text()
    program.write_text(script.replace("2024/09/10 14:40:05", "Mar 27 2017 16:02:44"))
    assert device.verdicts("vcgencmd") == [("wrong version", "2017.3.27")]
    program.write_text(script.replace("throttled=0x50005", "error=1"))
    [finding] = device.find("vcgencmd")
    assert (finding.verdict.value, finding.version) == ("broken", "2024.9.10")
    for script in BROKEN:
        device.program("vcgencmd", script)
        assert device.verdicts("vcgencmd") == [("broken", "")], script
    device.program("vcgencmd", "echo 'Can not open device file: /dev/vcio' >&2; exit 255")
    assert "/dev/vcio" in device.find("vcgencmd")[0].reason


def test_rknpu(device: DetectionDevice) -> None:
    assert device.verdicts("rknpu") == [("absent", "")]
    device.file("sys/kernel/debug/rknpu/version", "RKNPU driver: v0.9.8\n")
    assert device.find("rknpu")[0].reason == "exit code 1: the driver has no device"
    device.file("sys/bus/platform/drivers/RKNPU/fdab0000.npu/uevent", "")
    device.file("sys/kernel/debug/rknpu/load", "NPU load:  Core0:  0%, Core1: 12%, Core2:  0%,\n")
    [finding] = device.find("rknpu")
    assert (finding.verdict.value, finding.version) == ("found", "0.9.8"), finding
    assert finding.details == {"devices": "1", "load": "0% 12% 0%"}
    device.file("sys/module/rknpu/version", "0.9.8\n")
    assert device.find("rknpu")[0].path == "/sys/module/rknpu/version"
    device.file("sys/module/rknpu/version", "0.8.2\n")
    device.file("sys/kernel/debug/rknpu/version", "RKNPU driver: v0.8.2\n")
    assert device.verdicts("rknpu") == [("wrong version", "0.8.2")]
