"""The units under a real systemd: what they allow, what they forbid, and what outlives what."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kits import another_wheel, wheel_of
from tests.support.noop_benchmark import NAME as TOY
from tests.support.noop_benchmark import make_catalog
from tests.support.processes import Fleet, fleet_in, until
from tests.support.systemd_board import Board, booted, no_board

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("deploy"),
    pytest.mark.skipif(bool(no_board()), reason=no_board() or "it can be made"),
]
UNIT = "fleetmark-agent.service"
HOME = "/var/lib/fleetmark/agent"
MARKS = f"{HOME}/marks"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A real controller on this machine's loopback, which the board shares."""
    folder = tmp_path_factory.mktemp("fleet")
    with fleet_in(folder) as made:
        made.start_controller("--catalog", str(make_catalog(folder / "catalog")))
        yield made


@pytest.fixture(scope="module")
def board(
    fleet: Fleet, kit: Path, python: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Board]:
    """A board on which install-agent.sh has run; the tests of this module build upon each other."""
    with booted(tmp_path_factory.mktemp("board")) as made:
        if made is None:
            pytest.skip("systemd does not come up in namespaces here")
        made.copy(kit, "/srv/kit")
        made.ask("sh", "-c", f"umask 077 && echo '{fleet.token}' >/srv/token")
        install(
            *(made, "--python", python, "--controller", fleet.address, "--name", "board"),
            *("--token-file", "/srv/token", "--controls"),
        )
        made.until(lambda: fleet.presence("board") == "online", UNIT)
        made.ask("install", "-d", "-o", "fleetmark-agent", MARKS)
        made.ask("sed", "-i", f'1i allow_folders = ["{MARKS}"]', f"{HOME}/config.toml")
        made.ask("systemctl", "restart", UNIT)
        made.until(lambda: fleet.presence("board") == "online", UNIT)
        yield made


def install(board: Board, *arguments: str) -> str:
    return board.ask("sh", "/srv/kit/install-agent.sh", *arguments)


def schedule(fleet: Fleet, duration_s: float) -> str:
    done = fleet.run(
        *("schedule", TOY, "--fleet", "name=board", "--max-attempts", "1"),
        *("--param", f"marks={MARKS}", "--param", f"duration_s={duration_s}"),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def marks(board: Board, kind: str) -> int:
    return len([n for n in board.ask("ls", MARKS).split() if n.endswith(f".{kind}")])


def states(fleet: Fleet) -> list[object]:
    return [state for (state,) in fleet.query("SELECT state FROM jobs ORDER BY created_at")]


def processes(board: Board) -> list[str]:
    """Command lines of the unit's user."""
    return board.run("pgrep", "-a", "-u", "fleetmark-agent").stdout.splitlines()


def test_the_agent_has_no_rights_and_its_jobs_no_filters(board: Board) -> None:
    pid = board.show(UNIT, "MainPID")
    lines = board.ask("cat", f"/proc/{pid}/status").splitlines()
    status = {key: value.split() for key, value in (line.split(":", 1) for line in lines)}
    assert status["Uid"][0] == board.ask("id", "-u", "fleetmark-agent") != "0"
    for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name][0], 16) == 0
    assert (status["NoNewPrivs"], status["Seccomp"], status["Umask"]) == (["1"], ["0"], ["0077"])
    assert board.ask("ps", "-o", "ni=", "-p", pid) == "-5"
    inside = ["nsenter", "-t", pid, "-m", "setpriv", "--reuid=fleetmark-agent", "--clear-groups"]
    inside += ["--regid=fleetmark-agent", "--no-new-privs", "--bounding-set=-all"]
    # What the next line of defence of a job needs: namespaces, and a /proc in them.
    board.ask(*inside, "unshare", "-Urpf", "--mount-proc", "true")
    board.ask(*inside, "cat", "/proc/cpuinfo", "/proc/stat")
    for forbidden in ("/etc/x", "/opt/fleetmark/x", "/var/lib/x"):
        assert board.run(*inside, "touch", forbidden).returncode != 0
    board.ask("touch", "/tmp/foreign", "/root/foreign", "/home/foreign")
    for hidden in ("/tmp/foreign", "/root/foreign", "/home/foreign"):
        assert board.run(*inside, "test", "-e", hidden).returncode == 1
    board.ask(*inside, "touch", f"{HOME}/x")


def test_controls_are_an_addition_to_the_unit(board: Board) -> None:
    """Where a machine has no governor it does nothing, and keeps no agent from running."""
    assert board.show(UNIT, "DropInPaths").endswith(f"{UNIT}.d/controls.conf")
    assert "status=0" in board.show(UNIT, "ExecStartPre")


def test_a_job_runs_in_the_unit(board: Board, fleet: Fleet) -> None:
    schedule(fleet, 0.2)
    until(lambda: states(fleet) == ["SUCCEEDED"], "the job")
    assert (marks(board, "begin"), marks(board, "end")) == (1, 1)


def test_a_job_outlives_an_agent_that_is_killed(board: Board, fleet: Fleet) -> None:
    schedule(fleet, 25)
    until(lambda: marks(board, "begin") == 2, "the job")
    before = board.show(UNIT, "MainPID")
    board.ask("kill", "-KILL", before)
    until(lambda: board.show(UNIT, "MainPID") not in ("0", before), "the agent's restart")
    assert marks(board, "end") == 1
    until(lambda: states(fleet) == ["SUCCEEDED"] * 2, "the job")
    assert (marks(board, "begin"), marks(board, "end"), marks(board, "twin")) == (2, 2, 0)
    assert board.show(UNIT, "NRestarts") == "1"


def test_a_unit_that_is_stopped_ends_its_job_and_leaves_nothing(board: Board, fleet: Fleet) -> None:
    begun, ended = marks(board, "begin"), marks(board, "end")
    schedule(fleet, 600)
    until(lambda: marks(board, "begin") == begun + 1, "the job")
    board.ask("systemctl", "stop", UNIT)
    assert board.show(UNIT, "Result") == "success"
    # The job is over; the sampling of its telemetry notices that within its interval.
    assert not [line for line in processes(board) if "supervisor" in line or "main.py" in line]
    until(lambda: not processes(board), "the end of all processes", patience_s=15)
    board.ask("systemctl", "start", UNIT)
    until(lambda: fleet.presence("board") == "online", "the agent")
    assert marks(board, "end") == ended


def test_a_job_that_the_kernel_kills_for_its_memory_takes_no_agent_with_it(board: Board) -> None:
    """systemd's default for services is to stop all of them then."""
    assert board.show(UNIT, "OOMPolicy") == "continue"


def test_an_upgrade_restarts_it_as_the_same_device(
    board: Board, fleet: Fleet, kit: Path, python: str, tmp_path: Path
) -> None:
    device = fleet.query("SELECT device_id FROM devices WHERE name = 'board'")
    newer = another_wheel(wheel_of(kit), tmp_path, "0.1.1")
    board.copy(newer, f"/srv/{newer.name}")
    before = board.show(UNIT, "MainPID")
    install(board, "--wheel", f"/srv/{newer.name}", "--python", python)
    until(lambda: board.show(UNIT, "MainPID") not in ("0", before), "the new agent")
    assert board.ask("agent", "--version") == "0.1.1"
    until(lambda: fleet.presence("board") == "online", "the new agent")
    assert fleet.query("SELECT device_id FROM devices WHERE name = 'board'") == device


def test_purging_leaves_nothing(board: Board) -> None:
    install(board, "--uninstall", "--purge")
    found = board.ask("find", "/etc", "/opt", "/usr/local", "/var/lib", "-name", "*fleetmark*")
    assert found == ""
    assert board.run("id", "fleetmark-agent").returncode != 0
    assert board.run("systemctl", "cat", UNIT).returncode != 0
    assert board.run("pgrep", "-f", "fleetmark_agent").stdout == ""
