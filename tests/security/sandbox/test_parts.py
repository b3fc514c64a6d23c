"""The parts of the sandbox: what is shown, how a job is started, control groups, what is asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fleetmark_agent.runner.job_result import evaluate_exit
from fleetmark_agent.runner.sandboxing import open_to_all
from fleetmark_core.lockfile import is_device_pattern
from fleetmark_core.sandbox import confine, control_groups
from fleetmark_core.sandbox.mounts import device_nodes, python_paths, system_paths
from fleetmark_core.sandbox.plan import JobLimits, SandboxCapabilities, SandboxRequest, launch
from fleetmark_core.sandbox.prove import prove
from fleetmark_core.sandbox_levels import BUBBLEWRAP, LANDLOCK, LEVELS, LIMITS, NONE, at_least
from tests.security.sandbox import confined

NEEDS = SandboxRequest(
    command=("/usr/bin/true",),
    environment={"A": "1", "LD_PRELOAD": "evil.so"},
    folder="/h/attempts/a/out",
    scratch="/h/attempts/a/tmp",
    shared="/h/attempts/a/shm",
    read=("/usr", "/usr/lib", "/h/cache/e"),
    write=("/h/attempts/a/out", "/h/attempts/a/tmp"),
    devices=("/dev/gpu0",),
)


def words(
    means: SandboxCapabilities, needs: SandboxRequest = NEEDS, *, is_root: bool = False
) -> list[str]:
    made = launch(needs, JobLimits(), means, spec_path="/h/s.json", mark={}, is_root=is_root)
    return made.command


def test_levels_are_ordered_and_an_unknown_one_is_the_weakest() -> None:
    assert LEVELS == (NONE, LIMITS, LANDLOCK, BUBBLEWRAP)
    assert at_least(BUBBLEWRAP, LANDLOCK) and not at_least(LIMITS, LANDLOCK)
    assert at_least("", "") and at_least("", NONE) and not at_least("of-tomorrow", LIMITS)


def test_variables_of_a_job_never_reach_what_confines_it() -> None:
    for level in (LIMITS, LANDLOCK, BUBBLEWRAP):
        means = SandboxCapabilities(level, "namespace", None, "/usr/bin/bwrap")
        made = launch(NEEDS, JobLimits(), means, spec_path="/s", mark={"FLEETMARK_JOB": "/j"})
        assert set(made.environment) == {"PATH", "FLEETMARK_JOB"}
        assert made.spec is not None and made.spec["environment"] == NEEDS.environment
        assert made.monitored is (level == BUBBLEWRAP)


def test_bubblewrap_shows_what_is_listed_and_nothing_else() -> None:
    found = words(SandboxCapabilities(BUBBLEWRAP, "namespace", None, "bwrap"))
    shown = [found[i + 1] for i, word in enumerate(found) if word in ("--ro-bind", "--bind")]
    assert {"/usr", "/h/cache/e", "/h/attempts/a/out"} <= set(shown)
    assert not {"/h", "/h/attempts", "/", "/etc", "/usr/lib"} & set(shown)
    assert "--unshare-net" in found and "--unshare-user" in found and "--dev-bind" in found
    online = words(
        SandboxCapabilities(BUBBLEWRAP, "namespace", None, "bwrap"),
        SandboxRequest(**{**vars(NEEDS), "network": True}),
    )
    assert "--unshare-net" not in online
    rooted = words(SandboxCapabilities(BUBBLEWRAP, "namespace", 777, "bwrap"), is_root=True)
    assert "--unshare-user" not in rooted and "CAP_SETUID" in rooted and "ALL" in rooted


def test_a_home_below_what_is_shown_stays_hidden(tmp_path: Path) -> None:
    home = tmp_path / "opt" / "fleetmark" / "home"
    home.mkdir(parents=True)
    (tmp_path / "opt" / "fleetmark" / "bin").mkdir()
    (tmp_path / "opt" / "other").mkdir()
    (tmp_path / "etc").mkdir()
    for name in ("passwd", "shadow", "resolv.conf"):
        (tmp_path / "etc" / name).touch()
    found = system_paths(False, [home], tmp_path)
    shown = {str(Path(path).relative_to(tmp_path)) for path in found}
    assert shown == {"opt/fleetmark/bin", "opt/other", "etc/passwd"}
    assert str(tmp_path / "etc/resolv.conf") in system_paths(True, [home], tmp_path)


def test_a_python_in_the_users_own_folder_does_not_show_the_folder(tmp_path: Path) -> None:
    for name in ("bin", "lib/python3.11", "secrets"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "bin" / "python3.11").touch()
    whole = python_paths(str(tmp_path / "bin/python3.11"), [])
    assert whole == [str(tmp_path)]
    parts = python_paths(str(tmp_path / "bin/python3.11"), [tmp_path / "secrets"])
    assert parts == [str(tmp_path / "bin/python3.11"), str(tmp_path / "lib/python3.11")]


def test_devices_are_nodes_below_dev(tmp_path: Path) -> None:
    assert is_device_pattern("/dev/nvidia*") and is_device_pattern("/dev/dri/renderD128")
    for bad in ("/dev", "/dev/", "/etc/shadow", "dev/x", "/dev/../etc", "/dev/**", "/dev//x"):
        assert not is_device_pattern(bad)
    assert "/dev/null" in device_nodes(["/dev/nul[l]"]) and device_nodes(["/dev/none*"]) == []


def test_control_groups_on_a_tree_like_the_kernels(tmp_path: Path) -> None:
    unit = tmp_path / "sys/fs/cgroup/system.slice/agent.service"
    unit.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/system.slice/agent.service\n")
    (unit / "cgroup.procs").write_text("10\n11\n")
    (unit / "cgroup.subtree_control").write_text("")
    (unit / "cgroup.controllers").write_text("cpu memory\n")
    assert control_groups.usable(tmp_path) == (None, f"{unit} has no controller pids")
    (unit / "cgroup.controllers").write_text("cpu memory pids\n")
    assert control_groups.usable(tmp_path) == (str(unit), "")
    control_groups.prepare(unit)
    assert (unit / "fleetmark-agent" / "cgroup.procs").read_text() == "11"
    assert (unit / "cgroup.subtree_control").read_text() == "+memory +pids"
    group = control_groups.make(unit, "fleetmark-job.1", 1 << 20, 50)
    assert (group / "memory.max").read_text() == "1048576"
    assert (group / "pids.max").read_text() == "50"
    # After the move, the agent finds itself below; jobs' groups lie beside it all the same.
    (tmp_path / "proc/self/cgroup").write_text("0::/system.slice/agent.service/fleetmark-agent\n")
    (unit / "fleetmark-agent" / "cgroup.controllers").write_text("")
    assert control_groups.usable(tmp_path)[0] == str(unit)


@pytest.mark.skipif(
    not os.access("/sys/fs/cgroup/unified/cgroup.procs", os.W_OK), reason="no cgroups v2 to write"
)
def test_a_real_control_group_ends_all_that_is_in_it() -> None:
    group = Path("/sys/fs/cgroup/unified") / f"fleetmark-test-{os.getpid()}"
    group.mkdir()
    script = f"echo $$ > {group}/cgroup.procs; setsid sleep 600 & exec setsid sleep 600"
    child = subprocess.Popen(["sh", "-c", script])
    while len((group / "cgroup.procs").read_text().split()) < 2:
        assert child.poll() is None
    control_groups.end(group)
    child.wait(10)
    assert not group.exists()


def test_what_passed_a_limit_is_named_with_both_figures() -> None:
    def ended(**passed: int) -> str:
        outcome = {
            **{"outcome": "limit", "exit_code": None, "signal": 9, "started_unix_ns": 1},
            **{"duration_ns": 1, "passed": passed},
        }
        found = evaluate_exit(outcome, [], 60.0, "")
        assert (found.outcome, found.retryable) == ("failed", False)
        return found.reason

    output = ended(memory_bytes=600_000_000, memory_bytes_limit=500_000_000)
    assert output == "ended by its sandbox: 600.0 MB of memory, it may use 500.0 MB"
    assert "64 processes and threads of 60" in ended(processes=64, processes_limit=60)


def test_files_made_under_a_strict_umask_are_opened_to_jobs(tmp_path: Path) -> None:
    inner = tmp_path / "environment" / "package"
    inner.mkdir(parents=True)
    (inner / "module.py").touch(0o600)
    (inner / "tool").touch(0o700)
    for folder in (inner, inner.parent):
        folder.chmod(0o700)
    open_to_all(inner.parent)
    modes = [path.stat().st_mode & 0o777 for path in (inner.parent, inner)]
    assert modes == [0o755, 0o755]
    assert (inner / "module.py").stat().st_mode & 0o444 == 0o444
    assert (inner / "tool").stat().st_mode & 0o111 == 0o111


def test_what_cannot_be_confined_does_not_run(tmp_path: Path) -> None:
    spec = {
        **{"command": ["/usr/bin/touch", str(tmp_path / "ran")], "environment": {}},
        **{"folder": str(tmp_path), "limits": {}, "user": None, "groups": []},
        **{"guarded": False, "isolate": False},
        "landlock": {"read": ["/"], "write": [], "devices": [], "no_tcp": False},
    }
    path = tmp_path / "spec.json"
    command = [sys.executable, "-I", "-S", "-B", confine.__file__, str(path)]

    def run(**changes: object) -> subprocess.CompletedProcess[str]:
        path.write_text(json.dumps({**spec, **changes}))
        return subprocess.run(command, capture_output=True, text=True, check=False)

    if confine.landlock_abi():
        done = run()
        assert done.returncode == 1 and "Permission denied" in done.stderr
    bad = run(landlock=None, user=2**32 - 2, command=["/nonexistent"])
    assert bad.returncode == 127 and "cannot" in bad.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("strongest", LEVELS)
def test_what_is_proven_is_never_more_than_what_is_allowed(strongest: str) -> None:
    with confined.open_folder() as home:
        found = prove(home, strongest)
        assert at_least(strongest, found.level)
        assert all(s.reason and s.remedy for s in found.shortfalls)
        assert list(home.iterdir()) == []
        if strongest != BUBBLEWRAP:
            assert found.shortfalls[0].what == BUBBLEWRAP


def test_a_root_agent_with_a_strict_umask_has_its_jobs_be_another_user() -> None:
    """Folders that bubblewrap makes on the way must be passable, whatever the agent's umask."""
    if not confined.is_root() or not confined.bubblewrap_works():
        pytest.skip("needs root and bubblewrap")
    with confined.open_folder() as home:
        before = os.umask(0o077)
        try:
            found = prove(home)
        finally:
            os.umask(before)
    assert (found.level, found.network) == (BUBBLEWRAP, "namespace")
    assert found.user is not None and found.user > 1 << 30


def test_doctor_says_what_would_raise_the_level(tmp_path: Path) -> None:
    agent = Path(sys.executable).with_name("agent")
    (tmp_path / "config.toml").write_text('sandbox = "limits"\n')
    words = [str(agent), "doctor", "--home", str(tmp_path)]
    done = subprocess.run([*words, "--json"], capture_output=True, text=True, check=True)
    values = json.loads(done.stdout)
    assert values["sandbox"]["level"] in (LIMITS, NONE)
    plain = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "remove that line from config.toml" in plain


def test_a_folder_that_holds_the_home_is_not_opened(tmp_path: Path) -> None:
    agent = Path(sys.executable).with_name("agent")
    words = ["start", "--home", str(tmp_path / "home"), "--allow-folder", str(tmp_path)]
    done = subprocess.run([str(agent), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "contains the agent's home" in done.stderr
    wrong = subprocess.run(
        [str(agent), "start", "--sandbox", "bubblewarp"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert wrong.returncode == 2 and "Did you mean 'bubblewrap'?" in wrong.stderr


def test_a_root_that_knows_no_other_user_proves_what_is_left(tmp_path: Path) -> None:
    """As in a container without more users, or in a user namespace of one."""
    code = "from pathlib import Path; from fleetmark_core.sandbox.prove import prove;"
    code += f"found = prove(Path({str(tmp_path)!r}), 'bubblewrap'); print(found.level, found.user)"
    inside = ["unshare", "--user", "--map-root-user", sys.executable, "-c", code]
    done = subprocess.run(inside, capture_output=True, text=True, check=False)
    if "unshare failed" in done.stderr:
        pytest.skip("no user namespaces here")
    assert done.returncode == 0, done.stderr
    level, user = done.stdout.split()
    assert level in LEVELS
    assert user == "None"
