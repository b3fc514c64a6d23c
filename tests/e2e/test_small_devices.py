"""A device with 512 MB, for real: a limit of the kernel around a whole agent and its jobs.

What is predicted to fit runs within it; what is not is refused with both figures, and nothing is
sent: by the controller from what the device reported, and by the agent from what is free just then.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.processes import BIN, Fleet, environment, fleet_in, until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux"),
]
LIMIT = 512 << 20
V1 = Path("/sys/fs/cgroup/memory")
V2 = Path("/sys/fs/cgroup")


class ControlGroup:
    """A cgroup with a limit of memory; a command after `prefix` runs in it."""

    def __init__(self, folder: Path, limit_name: str) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / limit_name).write_text(str(LIMIT))
        enter = f'echo $$ > {folder}/cgroup.procs && exec "$@"'
        self.prefix = ("sh", "-c", enter, "sh")

    def remove(self) -> None:
        until(lambda: not (self.folder / "cgroup.procs").read_text().strip(), "the box's processes")
        self.folder.rmdir()


def find_control_group() -> ControlGroup | None:
    """A new cgroup, of version 1 or 2; None where we may make none."""
    name = f"fleetmark-test-{os.getpid()}"
    for parent, limit_name in ((V1, "memory.limit_in_bytes"), (V2, "memory.max")):
        with suppress(OSError):
            return ControlGroup(parent / name, limit_name)
        with suppress(OSError):
            (parent / name).rmdir()
    return None


def start_boxed(fleet: Fleet, name: str, prefix: tuple[str, ...]) -> None:
    """An agent that is limited before it begins."""
    with (fleet.folder / f"{name}.log").open("ab") as log:
        fleet.children[name] = subprocess.Popen(
            [
                *prefix,
                *(str(BIN / "agent"), "start", "--home", str(fleet.folder / name)),
                *("--controller", fleet.address, "--name", name),
            ],
            env={**environment(), "FLEETMARK_TOKEN": fleet.token},
            stdout=log,
            stderr=log,
        )
    until(lambda: fleet.presence(name) == "online", f"agent {name}")


@contextmanager
def boxed_fleet(folder: Path, prefix: tuple[str, ...]) -> Iterator[Fleet]:
    with fleet_in(folder) as fleet:
        fleet.start_controller()
        start_boxed(fleet, "small", prefix)
        # Until it has looked for software its helpers need memory too.
        until(lambda: "software detected" in fleet.log("small"), "what the device has")
        yield fleet


@pytest.fixture(scope="module")
def group() -> Iterator[ControlGroup]:
    made = find_control_group()
    if made is None:
        pytest.skip("no cgroup with a limit of memory can be made here: that needs root, or an own")
    yield made
    made.remove()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, group: ControlGroup) -> Iterator[Fleet]:
    with boxed_fleet(tmp_path_factory.mktemp("fleet"), group.prefix) as fleet:
        yield fleet


def blobs(fleet: Fleet) -> list[Path]:
    """What has come to the device."""
    return [p for p in (fleet.folder / "small" / "cache").rglob("*") if p.is_file()]


def reported(done: subprocess.CompletedProcess[str]) -> str:
    """What a command said, its tables' folded lines joined."""
    return " ".join((done.stdout + done.stderr).split())


def sent(fleet: Fleet) -> int:
    """Bytes that the controller has sent to devices."""
    return int(str(fleet.query("SELECT coalesce(sum(bytes_sent), 0) FROM attempt")[0][0]))


# The order of the tests is that of a device's first day: nothing there, then refused, then run.


def test_the_limit_is_the_memory_of_the_device(fleet: Fleet) -> None:
    done = fleet.run("schedule", "fashion-mnist", "--fleet", "memory>=600MiB", "--dry-run")
    assert done.returncode == 3 and "memory is 512 MiB" in reported(done)
    facts = json.loads(str(fleet.query("SELECT capabilities FROM device")[0][0]))
    assert facts["memory"]["limit_bytes"] == LIMIT < facts["memory"]["total_bytes"]


TOO_LARGE = {
    "a long run": (
        ("--profile", "valid", "--mode", "performance"),
        r"17\.1 GB of memory \(LoadGen",
    ),
    "large batches": (
        ("--scenario", "Offline", "--mode", "performance", "--param", "batch_size=4096"),
        r"1\.4 GB of memory",
    ),
}


@pytest.mark.parametrize("case", TOO_LARGE)
def test_the_controller_refuses_what_will_not_fit(fleet: Fleet, case: str) -> None:
    arguments, needed = TOO_LARGE[case]
    for more in (("--dry-run",), ("--wait",)):
        done = fleet.run("schedule", "fashion-mnist", *arguments, *more)
        assert done.returncode == 3, done.stdout + done.stderr
        assert re.search(rf"it needs {needed}", reported(done))
        assert "440.9 MB available" in reported(done)
    assert fleet.query("SELECT count(*) FROM job") == [(0,)]
    assert sent(fleet) == 0 and blobs(fleet) == []


def test_a_dry_run_shows_what_each_job_needs(fleet: Fleet) -> None:
    arguments = ("schedule", "fashion-mnist", "--profile", "valid", "--dry-run")
    done = fleet.run(*arguments, "--json")
    plan = json.loads(done.stdout)
    assert [job["configuration"].split()[-1] for job in plan["jobs"]] == ["accuracy"] * 2
    for job in plan["jobs"]:
        assert 60_000_000 < job["memory_bytes"] < 180_000_000
        assert job["bundle_bytes"] < job["disk_bytes"] < 300_000_000
    (left,) = plan["excluded"]
    assert "performance: it needs 17.1 GB of memory" in left["reason"]
    shown = fleet.run(*arguments).stdout
    assert re.search(r"memory\s+disk", shown) and "440.9 MB available" in shown


HOG = """
import sys
held = bytearray(int(sys.argv[1]))
for place in range(0, len(held), 4096):
    held[place] = 1
print("held", flush=True)
sys.stdin.read()
"""


def test_the_agent_refuses_jobs_that_do_not_fit_at_the_moment(
    fleet: Fleet, group: ControlGroup
) -> None:
    """Something else on the device takes most of it; the controller cannot know."""
    with subprocess.Popen(
        [*group.prefix, sys.executable, "-c", HOG, str(400 << 20)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as hog:
        assert hog.stdout is not None
        assert hog.stdout.readline() == b"held\n"
        done = fleet.run("schedule", "fashion-mnist", "--mode", "accuracy", "--wait")
        assert hog.poll() is None, "the kernel has ended what should take the memory"
        assert hog.stdin is not None
        hog.stdin.close()
    assert done.returncode == 1
    states = fleet.query("SELECT DISTINCT state FROM job")
    assert states == [("FAILED",)], done.stdout + done.stderr
    pattern = r"it needs \d+\.\d MB of memory, \d+\.\d MB available"
    for (reason,) in fleet.query("SELECT reason FROM job"):
        assert re.search(pattern, str(reason)), reason
    assert sent(fleet) == 0 and blobs(fleet) == []
    (job_id,) = fleet.query("SELECT job_id FROM job LIMIT 1")[0]
    shown = fleet.run("jobs", "show", str(job_id)).stdout
    assert re.search(pattern, shown)
    assert re.search(r"needs\s+\d+\.\d MB of memory, \d+\.\d MB of disk, predicted", shown)


def test_what_is_predicted_to_fit_runs_within_the_limit(fleet: Fleet, group: ControlGroup) -> None:
    done = fleet.run("schedule", "fashion-mnist", "--wait")
    assert done.returncode == 0, done.stdout + done.stderr + fleet.log("small")
    rows = fleet.query(
        "SELECT peak_memory_bytes, memory_bytes FROM run JOIN job USING (job_id)"
        " JOIN job_option USING (option_set_id)"
    )
    assert len(rows) == 4, "two modes in two scenarios"
    for measured, predicted in rows:
        assert 0 < int(str(measured)) <= int(str(predicted)) < 3 * int(str(measured))
    killed = [line for line in _oom(group) if line.startswith("oom_kill ")]
    assert killed in ([], ["oom_kill 0"])


def test_what_it_has_shown_then_decides(fleet: Fleet) -> None:
    """Its speed is known now, so the reason names what was measured and not what was assumed."""
    done = fleet.run(
        *("schedule", "fashion-mnist", "--profile", "valid", "--mode", "performance"), "--dry-run"
    )
    assert done.returncode == 3 and "at measured " in reported(done)
    assert "440.9 MB available" in reported(done)
    # A duration for which LoadGen's queries fit, and one for which they don't.
    ask = ("schedule", "fashion-mnist", "--scenario", "SingleStream", "--mode", "performance")
    assert fleet.run(*ask, "--param", "min_duration_s=3", "--dry-run").returncode == 0
    assert fleet.run(*ask, "--param", "min_duration_s=600", "--dry-run").returncode == 3


def test_one_that_nearly_fills_the_device_runs(fleet: Fleet) -> None:
    done = fleet.run(
        *("schedule", "fashion-mnist", "--scenario", "Offline", "--mode", "performance"),
        *("--param", "batch_size=1024", "--wait"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ((measured, predicted),) = fleet.query(
        "SELECT peak_memory_bytes, memory_bytes FROM run JOIN job USING (job_id)"
        " JOIN job_option USING (option_set_id)"
        " WHERE json_extract(parameters, '$.batch_size') = 1024"
    )
    assert 250_000_000 < int(str(measured)) <= int(str(predicted)) < 440_900_000


def test_it_runs_again_though_its_cache_is_full_of_it(fleet: Fleet) -> None:
    before = sent(fleet)
    done = fleet.run("schedule", "fashion-mnist", "--mode", "accuracy", "--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    assert sent(fleet) == before


def _oom(group: ControlGroup) -> list[str]:
    for name in ("memory.oom_control", "memory.events"):
        with suppress(OSError):
            return (group.folder / name).read_text().splitlines()
    return []
