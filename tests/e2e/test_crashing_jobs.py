"""A job whose program crashes on real agents: few attempts, a clear reason, no quarantine."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support import noop_benchmark as toy
from tests.support.processes import Fleet, fleet_in

pytestmark = pytest.mark.e2e

CRASH = "crashed with SIGSEGV: the runtime reads address 0"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two devices; the first failure that counts quarantines one."""
    folder = tmp_path_factory.mktemp("crashing")
    with fleet_in(folder, quarantine_after=1) as fleet:
        fleet.start_controller("--catalog", str(toy.make_catalog(folder / "catalog")))
        fleet.start_agent("one")
        fleet.start_agent("two")
        yield fleet


def crash(fleet: Fleet, *more: str) -> tuple[str, str]:
    """Schedule one job that crashes; return its id and the output of the command."""
    words = ("--param", f"marks={fleet.marks}", "--param", "crash=1", "--wait")
    done = fleet.run("schedule", "toy", *words, *more)
    assert done.returncode == 1, done.stdout + done.stderr
    listed = fleet.run("jobs", "list", "--campaign", "last", "--json")
    (job,) = json.loads(listed.stdout)
    return str(job["job_id"]), done.stdout


def attempts(fleet: Fleet, job: str) -> list[tuple[object, ...]]:
    return fleet.query(f"SELECT device, reason FROM attempts WHERE job_id = '{job}' ORDER BY epoch")


def quarantined(fleet: Fleet) -> list[bool]:
    shown = [json.loads(fleet.run("fleet", "show", n, "--json").stdout) for n in ("one", "two")]
    return [device["device"]["admin"]["quarantined"] for device in shown]


def test_a_crash_is_not_repeated_and_does_not_quarantine(fleet: Fleet) -> None:
    job, output = crash(fleet, "--fleet", "name=one")
    assert f"`controller jobs logs {job[-8:]}`" in output
    assert attempts(fleet, job) == [("one", CRASH)]
    assert quarantined(fleet) == [False, False]
    shown = fleet.run("jobs", "show", job).stdout
    assert f"controller jobs logs {job[-8:]}" in shown
    ((state, reason),) = fleet.query(f"SELECT state, reason FROM jobs WHERE job_id = '{job}'")
    assert state == "FAILED"
    assert str(reason).startswith(f"{CRASH} (not retried: ")
    assert "the runtime reads address 0" in fleet.run("jobs", "logs", job).stderr


def test_one_other_device_may_try_it(fleet: Fleet) -> None:
    job, _ = crash(fleet, "--any-device")
    found = attempts(fleet, job)
    assert sorted(found) == [("one", CRASH), ("two", CRASH)]
    ((reason,),) = fleet.query(f"SELECT reason FROM jobs WHERE job_id = '{job}'")
    assert reason == f"{CRASH} (not retried: it crashed on 2 devices)"
    assert quarantined(fleet) == [False, False]


def test_the_devices_still_take_jobs(fleet: Fleet) -> None:
    done = fleet.run("schedule", "toy", "--param", f"marks={fleet.marks}", "--wait")
    assert done.returncode == 0, done.stdout + done.stderr
