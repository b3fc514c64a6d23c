"""Rules about the kernel's files, and how the engine keeps foreign programs within bounds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fleetmark_agent.software.client import COMMAND
from fleetmark_agent.software.engine import detect
from fleetmark_agent.software.models import DetectedSoftware, DetectionStatus
from fleetmark_agent.software.rules import BadRule, load_rules, parse_rule
from fleetmark_core import subprocesses
from fleetmark_core.serde import parse_document
from tests.support.detection_devices import RULES, DetectionDevice, has_ended
from tests.unit.agent import test_software_device as unit
from tests.unit.agent.test_software_device import POLICY, rule

# Fixtures of the unit tests.
device = unit.device


def test_cpufreq(device: DetectionDevice) -> None:
    assert device.verdicts("cpufreq") == [("absent", "")]
    for number in (0, 4):
        device.file(f"{POLICY}{number}/scaling_governor", "ondemand\n")
    device.file(f"{POLICY}0/scaling_available_governors", "ondemand performance \n")
    device.file(f"{POLICY}0/cpuinfo_max_freq", "1800000\n")
    [found] = device.find("cpufreq")
    assert (found.verdict.value, found.path) == ("found", f"/{POLICY}0/scaling_governor")
    assert found.details["governors"] == "ondemand performance"
    assert (found.details["governor"], found.details["maximum_khz"]) == ("ondemand", "1800000")
    assert found.details["policies"] == "2"
    for number in (0, 4):
        device.file(f"{POLICY}{number}/scaling_governor", "<unsupported>\n")
    assert device.verdicts("cpufreq") == [("broken", "")]


def test_thermal_zones(device: DetectionDevice) -> None:
    assert device.verdicts("thermal") == [("absent", "")]
    readings = {0: "48686\n", 1: "-274000\n", 2: "nan\n", 10: "61000\n"}
    for number, reading in readings.items():
        device.file(f"sys/class/thermal/thermal_zone{number}/temp", reading)
        device.file(f"sys/class/thermal/thermal_zone{number}/type", f"zone-{number}\n")
    (device.root / "sys/class/thermal/thermal_zone11/temp").mkdir(parents=True)
    found = device.find("thermal")
    assert [(f.verdict.value, f.details.get("zone")) for f in found] == [
        ("found", "zone-0"),
        ("broken", None),
        ("broken", None),
        ("found", "zone-10"),
        ("broken", None),
    ]
    assert found[1].reason == "exit code 1: it reads -274 degrees"
    assert found[4].reason == "it cannot be read: Is a directory"


def test_rapl(device: DetectionDevice) -> None:
    assert device.verdicts("rapl") == [("absent", "")]
    zone = "sys/class/powercap/intel-rapl:0"
    device.file(f"{zone}/energy_uj", "123456789\n")
    device.file(f"{zone}/name", "package-0\n")
    device.file(f"{zone}/max_energy_range_uj", "262143328850\n")
    [found] = device.find("rapl")
    assert found.verdict is DetectionStatus.FOUND
    assert found.details == {"zone": "package-0", "range_uj": "262143328850"}
    device.file(f"{zone}/energy_uj", "\n")
    assert device.verdicts("rapl") == [("broken", "")]
    if os.getuid():
        (device.root / zone / "energy_uj").chmod(0)
        assert device.find("rapl")[0].reason == "it cannot be read: Permission denied"


def test_a_program_that_hangs_is_ended_with_its_children(device: DetectionDevice) -> None:
    pids = device.root / "pids"
    device.program(
        "hang",
        f"/bin/sleep 300 & echo $$ $! > {pids}; /bin/sleep 300",
    )
    [found] = device.find(rule(["hang"], time_limit_s=1))
    assert found.verdict is DetectionStatus.BROKEN
    assert found.reason == "time limit of 1 s exceeded"
    assert all(has_ended(int(pid)) for pid in pids.read_text().split())


def test_a_child_s_child_that_keeps_the_pipe_holds_nothing_up(device: DetectionDevice) -> None:
    pids = device.root / "pids"
    device.program("daemon", f"/bin/sleep 300 & echo $! > {pids}; echo version 3")
    [found] = device.find(rule(["daemon"], version_pattern=r"version (\d+)", time_limit_s=60))
    assert (found.verdict, found.version) == (DetectionStatus.FOUND, "3")
    assert has_ended(int(pids.read_text()))


def test_the_whole_detection_has_a_limit(device: DetectionDevice) -> None:
    for number in range(20):
        device.program(f"hang{number}", "/bin/sleep 300")
    made = rule(["hang*"], time_limit_s=60)
    found = device.find(made, time_limit_s=1.5)
    assert [f.verdict for f in found] == [DetectionStatus.BROKEN]
    assert "time limit of" in found[0].reason


def test_thousands_of_lines_and_no_end_of_lines(device: DetectionDevice) -> None:
    lines = "i=0; while [ $i -lt 20000 ]; do echo line $i of a log; i=$((i+1)); done"
    device.program("talk", f"echo version 7; {lines}")
    [found] = device.find(rule(["talk"], version_pattern=r"version (\d+)", time_limit_s=60))
    assert (found.verdict, found.version) == (DetectionStatus.FOUND, "7")
    device.program(
        "endless", "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done"
    )
    device.program("endless", "exec /usr/bin/yes version")
    [found] = device.find(rule(["endless"], time_limit_s=60))
    assert found.verdict is DetectionStatus.BROKEN and "its output exceeds" in found.reason


@pytest.mark.parametrize(
    "output",
    [b"\xff\xfe\x00\x01", b"", b"\n\n\n", b"version \n", b"\x1b[31mred\x1b[0m", b"a" * 99999],
)
def test_garbage_is_broken_and_stays_printable(device: DetectionDevice, output: bytes) -> None:
    data = device.file("garbage", output)
    device.program("noise", f"exec /bin/cat {data}")
    [found] = device.find(rule(["noise"], version_pattern=r"version (\d+)"))
    assert found.verdict is DetectionStatus.BROKEN and "its output has no version" in found.reason
    assert found.reason.isprintable() and len(found.reason) <= 300


def test_programs_have_no_terminal_no_input_and_a_clean_environment(
    device: DetectionDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SUDO_ASKPASS", "SSH_ASKPASS", "SSH_AUTH_SOCK", "LD_PRELOAD_X", "DISPLAY"):
        monkeypatch.setenv(name, "/tmp/x")
    device.program("asks", """
if read answer; then echo input=yes; fi
if ( : < /dev/tty ) 2>/dev/null; then echo terminal=yes; fi
echo "leaked=$SUDO_ASKPASS$SSH_ASKPASS$SSH_AUTH_SOCK$LD_PRELOAD_X$DISPLAY"
echo "home=$HOME"; echo "folder=$(pwd)"; echo "path=$PATH"
""")  # fmt: skip
    [found] = device.find(rule(["asks"], prove={"command": ["{path}"]}))
    assert found.verdict is DetectionStatus.FOUND
    details = found.details
    assert set(details) == {"home", "folder", "path"}
    assert details["home"] == details["folder"] and "fleetmark-detect-" in details["home"]
    assert not Path(details["home"]).exists()
    assert details["path"] == str(device.bin)


def test_a_rule_that_makes_no_sense_does_not_hide_the_others(
    device: DetectionDevice, tmp_path: Path
) -> None:
    folder = tmp_path / "soft"
    for name, text in {
        "bad": "kind = ",
        "binary": "\0",
        "deep": f"a = {'[' * 5000}",
        "digits": f"a = {'9' * 5000}",
        "worse": 'kind = "soft"\nname = "worse"\n[soft]\ndetect = [{ type = "shell" }]\n',
        "pattern": 'kind = "soft"\nname = "p"\n[soft]\nversion_pattern = "("\ndetect = [{}]\n',
        "good": 'kind = "soft"\nname = "good"\n'
        '[[soft.detect]]\ntype = "command"\ncommand = ["good"]\n',
    }.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "component.toml").write_text(text)
    (folder / "fifo").mkdir()
    os.mkfifo(folder / "fifo" / "component.toml")
    rules, bad = load_rules(folder)
    assert [made.name for made in rules] == ["good"]
    wrong = ("bad", "binary", "deep", "digits", "fifo", "pattern", "worse")
    assert sorted(bad) == list(wrong)
    assert "FIFO, not a regular file" in bad["fifo"]
    assert "64 bits" in bad["digits"]
    device.program("good", "exit 0")
    found = detect(device.place(), rules, bad).findings
    verdicts = {f.rule: f.verdict.value for f in found}
    assert verdicts.pop("good") == "found"
    assert verdicts == dict.fromkeys(wrong, "absent")
    assert "is not valid" in found[1].reason
    for document in ({}, {"kind": "soft"}, {"kind": "soft", "name": "x", "soft": {}}):
        with pytest.raises(BadRule):
            parse_rule(document)


def test_what_cannot_be_started_says_why(tmp_path: Path) -> None:
    ran = subprocesses.run([str(tmp_path / "none")], {}, tmp_path, 5)
    assert ran.fault == "it cannot be started: No such file or directory" and not ran.exited


def test_this_machine_through_the_helper_which_leaves_nothing(tmp_path: Path) -> None:
    home, temporary, bin_ = (tmp_path / name for name in ("home", "tmp", "bin"))
    for folder in (home, temporary, bin_):
        folder.mkdir()
    pid = tmp_path / "pid"
    fake = DetectionDevice(tmp_path / "device").program(
        "git",
        f"/usr/bin/setsid /bin/sleep 300 & echo $! > {pid}\n"
        "echo nothing > $HOME/.gitconfig; echo git version 2.50.0",
    )
    fake.rename(bin_ / "git")
    environment = {
        **os.environ,
        "PATH": f"{bin_}:/usr/bin:/bin",
        "HOME": str(home),
        "TMPDIR": str(temporary),
    }
    done = subprocess.run(
        [sys.executable, "-I", "-m", "fleetmark_agent.software"],
        check=True,
        capture_output=True,
        env=environment,
        timeout=120,
    )
    detection = parse_document(DetectedSoftware, done.stdout)
    assert {finding.rule for finding in detection.findings} == set(RULES)
    by_rule = {finding.rule: finding for finding in detection.findings}
    assert (by_rule["git"].version, by_rule["git"].verdict) == ("2.50.0", DetectionStatus.FOUND)
    assert done.stderr == b""
    assert not list(home.iterdir()) and not list(temporary.iterdir())
    assert has_ended(int(pid.read_text()))


@pytest.mark.parametrize("moment", range(6))
def test_a_helper_that_is_ended_leaves_nothing_either(tmp_path: Path, moment: int) -> None:
    device, temporary = DetectionDevice(tmp_path / "device"), tmp_path / "tmp"
    temporary.mkdir()
    for name in ("git", "cmake", "docker", "podman", "adb", "bwrap"):
        device.program(name, f"/bin/sleep 300 & echo $$ $! >> {tmp_path}/pids; /bin/sleep 300")
    environment = {**os.environ, "PATH": f"{device.bin}:/usr/bin", "TMPDIR": str(temporary)}
    command = [sys.executable, "-I", "-m", "fleetmark_agent.software"]
    helper = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not (tmp_path / "pids").exists():
        time.sleep(0.01)
    time.sleep(moment * 0.07)
    helper.terminate()
    assert helper.wait(60) == 143
    assert all(has_ended(int(pid)) for pid in (tmp_path / "pids").read_text().split())
    assert not list(temporary.iterdir())


def test_detection_has_a_low_priority_across_sessions(tmp_path: Path) -> None:
    """All its programs share one session of their own, whose share of the CPU is small."""
    device = DetectionDevice(tmp_path / "device")
    group = "$(cat /proc/self/autogroup 2>/dev/null)"
    for name in ("git", "cmake"):
        device.program(name, f'echo "$(ps -o sid=,ni= -p $$) {group}" >> {tmp_path}/seen')
    environment = {**os.environ, "PATH": f"{device.bin}:/usr/bin:/bin"}
    subprocess.run(COMMAND, check=True, env=environment, stdout=subprocess.DEVNULL, timeout=120)
    lines = [line.split() for line in (tmp_path / "seen").read_text().splitlines()]
    assert len({session for session, *_ in lines}) == 1
    assert int(lines[0][0]) != os.getsid(0)
    assert {nice for _, nice, *_ in lines} == {"10"}
    if Path("/proc/self/autogroup").exists():
        assert {tuple(words[-2:]) for words in lines} == {("nice", "10")}


def test_an_interrupted_command_leaves_nothing(tmp_path: Path) -> None:
    device, temporary = DetectionDevice(tmp_path / "device"), tmp_path / "tmp"
    temporary.mkdir()
    device.program("git", f"echo $$ >> {tmp_path}/pids; exec /bin/sleep 300")
    code = "from fleetmark_agent.software.client import detect_in_child; detect_in_child()"
    environment = {**os.environ, "PATH": f"{device.bin}:/usr/bin", "TMPDIR": str(temporary)}
    asker = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL
    )
    while not (tmp_path / "pids").exists():
        time.sleep(0.01)
    time.sleep(0.1)
    asker.send_signal(signal.SIGINT)
    assert asker.wait(60) != 0
    assert all(has_ended(int(pid)) for pid in (tmp_path / "pids").read_text().split())
    assert not list(temporary.iterdir())
