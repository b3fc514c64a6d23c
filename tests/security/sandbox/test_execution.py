"""The table of attacks by jobs, through a real controller, agent and job.

Each attack is refused or contained, and named in the run; the agent goes on and nothing is left.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fleetmark_core.sandbox_levels import BUBBLEWRAP, LANDLOCK
from tests.security.sandbox import attacker, confined
from tests.support.processes import Fleet, fleet_in, until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("execution")]

MEMORY_BYTES, PROCESSES, SCRATCH_BYTES, OUTPUT_BYTES = 256 << 20, 60, 48 << 20, 100_000
CONFIG = (
    "detect_interval_s = 0\ntelemetry_interval_s = 0.5\nstop_grace_s = 0.5\n"
    f"job_memory_bytes = {MEMORY_BYTES}\njob_processes = {PROCESSES}\n"
    f"job_scratch_bytes = {SCRATCH_BYTES}\njob_output_limit_bytes = {OUTPUT_BYTES}\n"
)
WORDS = "; touch {out} | cat `touch {out}` $(touch {out}) && touch {out} > {out} \\ ' \" * ~ #"
ATTACKS = (
    *("read_secrets", "write_outside", "fork_bomb", "memory_hog", "memory_hogs", "disk_filler"),
    *("large_file", "daemonise", "connect_out", "endless_output", "shell_characters"),
    "kill_others",
)


@dataclass
class Device:
    """An agent under every attack, and the outcome of each."""

    fleet: Fleet
    name: str
    level: str
    home: Path
    marker: str
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def reason(self, attack: str) -> str:
        """Return the failure reason of an attack's job; empty if it succeeded."""
        return str(self.jobs[attack]["reason"])

    def run(self, attack: str) -> dict[str, Any]:
        """Return the run of an attack with its provenance."""
        return self._json("results", "show", self.jobs[attack]["run_id"], "--json")

    def report(self, attack: str) -> dict[str, Any]:
        """Return the program's report of what it could do."""
        assert self.jobs[attack]["state"] in ("SUCCEEDED", "INVALID"), self.jobs[attack]
        folder = self.fleet.folder / f"{self.name}.{attack}"
        self.ok("results", "show", self.jobs[attack]["run_id"], "--save", str(folder))
        values: dict[str, Any] = json.loads((folder / "report.json").read_text())
        return values

    def ok(self, *words: str) -> str:
        done = self.fleet.run(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _json(self, *words: str) -> Any:
        return json.loads(self.ok(*words))


KINDS = [
    pytest.param(("root", BUBBLEWRAP), id="root-bubblewrap"),
    pytest.param(("user", LANDLOCK), id="user-landlock"),
    pytest.param(("user", BUBBLEWRAP), id="user-bubblewrap", marks=pytest.mark.slow),
    pytest.param(("root", LANDLOCK), id="root-landlock", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module")
def open_folder() -> Iterator[Path]:
    with confined.open_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def fleet(open_folder: Path) -> Iterator[Fleet]:
    with fleet_in(open_folder / "fleet") as made:
        made.folder.chmod(0o755)
        made.start_controller("--catalog", str(attacker.make_catalog(made.folder / "catalog")))
        yield made


@pytest.fixture(scope="module", params=KINDS)
def device(fleet: Fleet, request: pytest.FixtureRequest) -> Device:
    who, level = request.param
    if who == "root" and not confined.is_root():
        pytest.skip("needs root")
    if level == BUBBLEWRAP and not confined.bubblewrap_works():
        pytest.skip("bubblewrap is not installed, or does not work here")
    name = f"{who}-{level}"
    home = fleet.folder / name
    home.mkdir()
    (home / "config.toml").write_text(CONFIG)
    if confined.is_root():
        owner = confined.USER if who == "user" else 0
        os.chown(home, owner, owner)
        home.chmod(0o711)
    prefix = confined.as_user() if who == "user" else confined.as_root()
    fleet.start_agent(name, "--sandbox", level, home=home, prefix=prefix)
    marker = f"attacker-{name}-{os.getpid()}"
    made = Device(fleet, name, level, home, marker)
    _attack(made)
    return made


def _attack(device: Device) -> None:
    """Submit every attack at once, wait for all, and note how each ended."""
    pids = f"{device.fleet.children[device.name].pid} {device.fleet.children['controller'].pid}"
    campaigns = {}
    for attack in ATTACKS:
        words = WORDS.format(out=device.fleet.folder / "pwned").replace(",", "")
        # What never ends by itself: its time limit is what is tested there.
        limit = ("--timeout", "4") if attack == "endless_output" else ("--timeout", "90")
        output = device.ok(
            *("schedule", "toy", "--fleet", f"name={device.name}", "--max-attempts", "1", "--json"),
            *("--min-sandbox", device.level, *limit),
            *("--param", f"attack={attack}", "--param", f"home={device.home}"),
            *("--param", f"marker={device.marker}", "--param", f"pids={pids}"),
            *("--param", f"address={device.fleet.address}", "--param", f"words={words}"),
        )
        campaigns[json.loads(output)["campaign_id"]] = attack
    terminal = "('SUCCEEDED', 'ESTIMATE', 'INVALID', 'FAILED', 'CANCELLED')"

    def ended() -> bool:
        rows = device.fleet.query(
            f"SELECT campaign_id, state, reason, run_id, job_id FROM jobs WHERE state IN {terminal}"
        )
        for campaign, state, reason, run, job in rows:
            if campaign in campaigns:
                values = {"state": state, "reason": reason, "run_id": run, "job_id": job}
                device.jobs[campaigns[str(campaign)]] = values
        assert device.fleet.children[device.name].poll() is None, device.fleet.log(device.name)[
            -2000:
        ]
        return len(device.jobs) == len(ATTACKS)

    until(ended, f"the attacks on {device.name}", 300)


def test_the_level_is_in_the_run_and_the_agent_lives(device: Device) -> None:
    print({attack: (job["state"], job["reason"]) for attack, job in device.jobs.items()})
    run = device.run("read_secrets")
    assert run["sandbox"] == device.level == run["provenance"]["sandbox"]
    assert run["provenance"]["sandbox_details"]["network"] == "namespace"
    if device.name.startswith("root"):
        assert run["provenance"]["sandbox_details"]["user"] is not None
    assert device.fleet.presence(device.name) == "online"


def test_keys_and_spool_are_not_read(device: Device) -> None:
    report = device.report("read_secrets")
    done = [what for what, how in report.items() if how == "done"]
    assert done == []
    assert report["read identity/key.pem"] in ("EACCES", "ENOENT")


def test_nothing_is_written_outside(device: Device) -> None:
    report = device.report("write_outside")
    allowed = {"write /tmp"} if device.level == BUBBLEWRAP else set()
    if device.level == LANDLOCK:
        # Landlock allows it, as docs/explanation/sandbox.md says; it changes no content.
        allowed.add("chmod")
    # Under /tmp a folder above the job's own is shown in its private /tmp: gone with it.
    private = {f"write {device.home}/x"} if device.level == BUBBLEWRAP else set()
    done = {what for what, how in report.items() if how == "done"} - allowed
    assert {what for what in done if what not in private and "/attempts/" not in what} == set()
    for place in ("/tmp", "/var/tmp", "/etc", "/usr", "/dev"):
        assert not (Path(place) / device.marker).exists()
    assert not (device.home / "x").exists()
    assert not (Path(sys.executable).parent / "x").exists()


def test_a_fork_bomb_is_ended_and_named(device: Device) -> None:
    assert device.jobs["fork_bomb"]["state"] == "FAILED"
    assert f"processes and threads of {PROCESSES} that it may have" in device.reason("fork_bomb")


def test_a_memory_hog_is_ended_and_named(device: Device) -> None:
    assert device.jobs["memory_hog"]["state"] == "FAILED"
    reason = device.reason("memory_hog")
    assert reason.startswith("out of memory: ") and "may use 268.4 MB (" in reason
    # Each process stays below the limit; together they exceed it.
    assert "may use 268.4 MB (ended by its sandbox)" in device.reason("memory_hogs")


def test_a_full_disk_is_prevented_and_named(device: Device) -> None:
    assert "of disk, it may use 50.3 MB" in device.reason("disk_filler")
    assert device.jobs["large_file"]["state"] == "FAILED"
    assert "File too large" in device.reason("large_file") or "disk" in device.reason("large_file")


def test_a_daemon_dies_with_its_job(device: Device) -> None:
    assert device.report("daemonise")
    assert confined.processes_with(device.marker) == []


def test_there_is_no_way_out(device: Device) -> None:
    report = device.report("connect_out")
    assert report["interfaces"] == ["lo"]
    assert report["tcp"] == "ECONNREFUSED" and report["udp"] == "ENETUNREACH"
    assert report["look up"] != "done"


def test_endless_output_is_cut(device: Device) -> None:
    assert "time limit of 4 s" in device.reason("endless_output")
    done = device.fleet.run("jobs", "logs", device.jobs["endless_output"]["job_id"])
    assert OUTPUT_BYTES / 2 < len(done.stdout) < OUTPUT_BYTES * 2
    assert "more bytes were dropped" in done.stdout


def test_shell_characters_are_only_characters(device: Device) -> None:
    pwned = device.fleet.folder / "pwned"
    assert device.report("shell_characters")["arguments"] == WORDS.format(out=pwned).replace(
        ",", ""
    )
    assert not pwned.exists()


def test_other_processes_are_out_of_reach(device: Device) -> None:
    report = device.report("kill_others")
    done = [what for what, how in report.items() if how == "done"]
    assert done == []
    assert device.fleet.presence(device.name) == "online"


def test_nothing_of_the_agent_is_inherited(device: Device) -> None:
    found = set(device.report("connect_out")["environment"])
    assert found - {"LC_CTYPE", "PWD", "OLDPWD"} == {
        *("FLEETMARK_JOB", "FLEETMARK_OUT", "PATH", "LANG", "TMPDIR", "HOME"),
        *("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_OFFLINE"),
        *("DISABLE_TELEMETRY", "DO_NOT_TRACK"),
    }


def test_nothing_is_left_behind(device: Device) -> None:
    # What the controller has acknowledged is removed at once, as always.
    until(lambda: not list(device.home.glob("attempts/*")), "the workspaces to be removed", 60)
    assert confined.processes_with(str(device.home / "attempts")) == []
    time.sleep(0.1)
    assert device.fleet.presence(device.name) == "online"
