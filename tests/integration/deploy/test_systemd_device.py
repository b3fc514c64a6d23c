"""The units under a real systemd: what they allow, what they forbid, and what outlives what."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kits import another_wheel, wheel_of
from tests.support.noop_benchmark import NAME as TOY
from tests.support.noop_benchmark import make_catalog
from tests.support.processes import Fleet, fleet_in, until
from tests.support.systemd_device import SystemdDevice, booted_device, systemd_device_skip_reason

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("deploy"),
    pytest.mark.skipif(
        bool(systemd_device_skip_reason()), reason=systemd_device_skip_reason() or "it can be made"
    ),
]
UNIT = "fleetmark-agent.service"
HOME = "/var/lib/fleetmark/agent"
MARKS = f"{HOME}/marks"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A real controller on this machine's loopback, which the device shares."""
    folder = tmp_path_factory.mktemp("fleet")
    with fleet_in(folder) as made:
        made.start_controller("--catalog", str(make_catalog(folder / "catalog")))
        yield made


@pytest.fixture(scope="module")
def device(
    fleet: Fleet, kit: Path, python: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SystemdDevice]:
    """A device with the installed agent; the tests of this module build upon each other."""
    with booted_device(tmp_path_factory.mktemp("device")) as made:
        if made is None:
            pytest.skip("systemd does not come up in namespaces here")
        made.copy(kit, "/srv/kit")
        made.ask("sh", "-c", f"umask 077 && echo '{fleet.token}' >/srv/token")
        install(
            *(made, "--python", python, "--controller", fleet.address, "--name", "device"),
            *("--token-file", "/srv/token", "--controls"),
        )
        made.until(lambda: fleet.presence("device") == "online", UNIT)
        made.ask("install", "-d", "-o", "fleetmark-agent", MARKS)
        made.ask("sed", "-i", f'1i allow_folders = ["{MARKS}"]', f"{HOME}/config.toml")
        made.ask("systemctl", "restart", UNIT)
        made.until(lambda: fleet.presence("device") == "online", UNIT)
        yield made


def install(device: SystemdDevice, *arguments: str) -> str:
    return device.ask("sh", "/srv/kit/install-agent.sh", *arguments)


def schedule(fleet: Fleet, duration_s: float) -> str:
    done = fleet.run(
        *("schedule", TOY, "--fleet", "name=device", "--max-attempts", "1"),
        *("--param", f"marks={MARKS}", "--param", f"duration_s={duration_s}"),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def marks(device: SystemdDevice, kind: str) -> int:
    return len([n for n in device.ask("ls", MARKS).split() if n.endswith(f".{kind}")])


def states(fleet: Fleet) -> list[object]:
    return [state for (state,) in fleet.query("SELECT state FROM jobs ORDER BY created_at")]


def processes(device: SystemdDevice) -> list[str]:
    """Command lines of the unit's user."""
    return device.run("pgrep", "-a", "-u", "fleetmark-agent").stdout.splitlines()


def test_the_agent_has_no_rights_and_its_jobs_no_filters(device: SystemdDevice) -> None:
    pid = device.show(UNIT, "MainPID")
    lines = device.ask("cat", f"/proc/{pid}/status").splitlines()
    status = {key: value.split() for key, value in (line.split(":", 1) for line in lines)}
    assert status["Uid"][0] == device.ask("id", "-u", "fleetmark-agent") != "0"
    for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name][0], 16) == 0
    assert (status["NoNewPrivs"], status["Seccomp"], status["Umask"]) == (["1"], ["0"], ["0077"])
    assert device.ask("ps", "-o", "ni=", "-p", pid) == "-5"
    inside = ["nsenter", "-t", pid, "-m", "setpriv", "--reuid=fleetmark-agent", "--clear-groups"]
    inside += ["--regid=fleetmark-agent", "--no-new-privs", "--bounding-set=-all"]
    # What the next line of defence of a job needs: namespaces, and a /proc in them.
    device.ask(*inside, "unshare", "-Urpf", "--mount-proc", "true")
    device.ask(*inside, "cat", "/proc/cpuinfo", "/proc/stat")
    for forbidden in ("/etc/x", "/opt/fleetmark/x", "/var/lib/x"):
        assert device.run(*inside, "touch", forbidden).returncode != 0
    device.ask("touch", "/tmp/foreign", "/root/foreign", "/home/foreign")
    for hidden in ("/tmp/foreign", "/root/foreign", "/home/foreign"):
        assert device.run(*inside, "test", "-e", hidden).returncode == 1
    device.ask(*inside, "touch", f"{HOME}/x")


def test_controls_are_an_addition_to_the_unit(device: SystemdDevice) -> None:
    """Where a machine has no governor it does nothing, and keeps no agent from running."""
    assert device.show(UNIT, "DropInPaths").endswith(f"{UNIT}.d/controls.conf")
    assert "status=0" in device.show(UNIT, "ExecStartPre")


def test_a_job_runs_in_the_unit(device: SystemdDevice, fleet: Fleet) -> None:
    schedule(fleet, 0.2)
    until(lambda: states(fleet) == ["SUCCEEDED"], "the job")
    assert (marks(device, "begin"), marks(device, "end")) == (1, 1)


def test_a_job_outlives_an_agent_that_is_killed(device: SystemdDevice, fleet: Fleet) -> None:
    schedule(fleet, 25)
    until(lambda: marks(device, "begin") == 2, "the job")
    before = device.show(UNIT, "MainPID")
    device.ask("kill", "-KILL", before)
    until(lambda: device.show(UNIT, "MainPID") not in ("0", before), "the agent's restart")
    assert marks(device, "end") == 1
    until(lambda: states(fleet) == ["SUCCEEDED"] * 2, "the job")
    assert (marks(device, "begin"), marks(device, "end"), marks(device, "twin")) == (2, 2, 0)
    assert device.show(UNIT, "NRestarts") == "1"


def test_a_unit_that_is_stopped_ends_its_job_and_leaves_nothing(
    device: SystemdDevice, fleet: Fleet
) -> None:
    begun, ended = marks(device, "begin"), marks(device, "end")
    schedule(fleet, 600)
    until(lambda: marks(device, "begin") == begun + 1, "the job")
    device.ask("systemctl", "stop", UNIT)
    assert device.show(UNIT, "Result") == "success"
    # The job is over; the sampling of its telemetry notices that within its interval.
    assert not [line for line in processes(device) if "supervisor" in line or "main.py" in line]
    until(lambda: not processes(device), "the end of all processes", patience_s=15)
    device.ask("systemctl", "start", UNIT)
    until(lambda: fleet.presence("device") == "online", "the agent")
    assert marks(device, "end") == ended


def test_a_job_that_the_kernel_kills_for_its_memory_takes_no_agent_with_it(
    device: SystemdDevice,
) -> None:
    """systemd's default for services is to stop all of them then."""
    assert device.show(UNIT, "OOMPolicy") == "continue"


def test_an_upgrade_restarts_it_as_the_same_device(
    device: SystemdDevice, fleet: Fleet, kit: Path, python: str, tmp_path: Path
) -> None:
    enrolled = fleet.query("SELECT device_id FROM devices WHERE name = 'device'")
    newer = another_wheel(wheel_of(kit), tmp_path, "0.2.1")
    device.copy(newer, f"/srv/{newer.name}")
    before = device.show(UNIT, "MainPID")
    install(device, "--wheel", f"/srv/{newer.name}", "--python", python)
    until(lambda: device.show(UNIT, "MainPID") not in ("0", before), "the new agent")
    assert device.ask("agent", "--version") == "fleetmark agent 0.2.1"
    until(lambda: fleet.presence("device") == "online", "the new agent")
    assert fleet.query("SELECT device_id FROM devices WHERE name = 'device'") == enrolled


def test_purging_leaves_nothing(device: SystemdDevice) -> None:
    install(device, "--uninstall", "--purge")
    found = device.ask("find", "/etc", "/opt", "/usr/local", "/var/lib", "-name", "*fleetmark*")
    assert found == ""
    assert device.run("id", "fleetmark-agent").returncode != 0
    assert device.run("systemctl", "cat", UNIT).returncode != 0
    assert device.run("pgrep", "-f", "fleetmark_agent").stdout == ""
