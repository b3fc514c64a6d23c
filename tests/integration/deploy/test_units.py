"""The unit files: systemd's own check, and settings that they must not contain."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.kits import DEPLOY

UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
AGENT = DEPLOY / "systemd" / "fleetmark-agent.service"
NO_ANALYZE = shutil.which("systemd-analyze") is None
# All that makes systemd attach a system call filter, which jobs would inherit.
FILTERS = {
    *("SystemCallFilter", "SystemCallArchitectures", "RestrictAddressFamilies", "LockPersonality"),
    *("RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID", "MemoryDenyWriteExecute"),
    *("PrivateDevices", "ProtectClock", "ProtectHostname", "ProtectKernelModules"),
    *("ProtectKernelLogs", "ProtectKernelTunables"),
}
ORDINARY = (
    "setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs --bounding-set=-all"
    " unshare -Urpf --mount-proc true"
)


def settings(unit: Path) -> dict[str, str]:
    lines = (line.partition("=") for line in unit.read_text().splitlines())
    return {key: value for key, equals, value in lines if equals and not key.startswith("#")}


@pytest.mark.skipif(NO_ANALYZE, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_finds_nothing_wrong(unit: Path, tmp_path: Path) -> None:
    # Its programs are not installed here: the same unit with one that is.
    copy = tmp_path / unit.name
    text, count = re.subn(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text())
    assert count == 1
    copy.write_text(text)
    mode = "--user" if "user" in unit.name else "--system"
    done = subprocess.run(
        ["systemd-analyze", "verify", mode, "--man=no", "--recursive-errors=no", str(copy)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(NO_ANALYZE, reason="systemd-analyze is not installed")
def test_that_evaluation_can_fail(tmp_path: Path) -> None:
    copy = tmp_path / "bad.service"
    copy.write_text("[Service]\nExecStart=/bin/true\nProtectSystm=yes\n")
    command = ["systemd-analyze", "verify", "--man=no", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert re.search("Unknown key.*ProtectSystm", done.stderr)


@pytest.mark.skipif(NO_ANALYZE, reason="systemd-analyze is not installed")
def test_the_controller_is_exposed_as_little_as_a_server_can_be() -> None:
    unit = DEPLOY / "systemd" / "fleetmark-controller.service"
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager"]
    done = subprocess.run([*command, str(unit)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("unit", [u for u in UNITS if "agent" in u.name], ids=lambda p: p.name)
def test_jobs_inherit_no_system_call_filter_and_outlive_their_agent(unit: Path) -> None:
    found = settings(unit)
    assert not FILTERS & set(found)
    assert found["KillMode"] == "process"
    assert found["OOMPolicy"] == "continue"


@pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "setpriv", "mount"))),
    reason="needs root, unshare and setpriv",
)
@pytest.mark.parametrize(
    ("hidden", "allowed"),
    [
        ("true", True),
        ("mount --bind /sys/fs/cgroup /sys/fs/cgroup", True),  # ProtectControlGroups
        ("mount --bind /proc/sys /proc/sys", False),  # ProtectKernelTunables
        ("mount --bind /dev/null /proc/kmsg", False),  # ProtectKernelLogs
    ],
)
def test_mounts_over_proc_would_take_proc_away_from_sandboxes(hidden: str, allowed: bool) -> None:
    """Mount over /proc, to test the claim of the agent's unit about this kernel."""
    if subprocess.run(["unshare", "-m", "sh", "-c", ORDINARY], check=False).returncode != 0:
        pytest.skip("ordinary users cannot make namespaces here")
    command = ["unshare", "-m", "sh", "-c", f"{hidden} && {ORDINARY}"]
    done = subprocess.run(command, check=False, capture_output=True)
    assert (done.returncode == 0) is allowed
