"""A job that runs out of memory on real agents: named with its figures, learned from, no loop."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.support import noop_benchmark as toy
from tests.support.processes import Fleet, fleet_in

pytestmark = pytest.mark.e2e

LIMIT_MB = 300
USED_MB = 400


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A device that gives jobs little memory, and one that does not."""
    folder = tmp_path_factory.mktemp("memory")
    with fleet_in(folder, quarantine_after=1) as fleet:
        fleet.start_controller("--catalog", str(toy.make_catalog(folder / "catalog")))
        (folder / "small").mkdir()
        (folder / "small" / "config.toml").write_text(f"job_memory_bytes = {LIMIT_MB}_000_000\n")
        fleet.start_agent("small")
        fleet.start_agent("large")
        yield fleet


def schedule(fleet: Fleet, *more: str) -> tuple[int, str]:
    words = ("--param", f"marks={fleet.marks}", "--param", f"memory_mb={USED_MB}")
    done = fleet.run("schedule", "toy", *words, *more)
    return done.returncode, done.stdout + done.stderr


def jobs(fleet: Fleet) -> list[tuple[object, ...]]:
    return fleet.query("SELECT job_id, state, reason FROM jobs ORDER BY created_at, job_id")


def attempts(fleet: Fleet, job: object) -> list[tuple[object, ...]]:
    return fleet.query(f"SELECT device, state FROM attempts WHERE job_id = '{job}' ORDER BY epoch")


def predicted(fleet: Fleet, name: str) -> dict[str, object]:
    _, output = schedule(fleet, "--fleet", f"name={name}", "--dry-run", "--json")
    (job,) = json.loads(output)["jobs"]
    return dict(job)


def test_it_is_named_with_its_figures_and_not_repeated(fleet: Fleet) -> None:
    before = predicted(fleet, "small")
    assert before["memory_source"] == "estimated" and int(str(before["memory_bytes"])) < 50_000_000
    code, output = schedule(fleet, "--fleet", "name=small", "--wait")
    assert code == 1, output
    ((job, state, reason),) = jobs(fleet)
    assert state == "FAILED"
    # By resident memory, by a failed allocation or by the kernel, as the sandbox of the device has.
    assert re.match(r"out of memory: it .*may use 300\.0 MB \(", str(reason)), reason
    assert "not retried: it would run out of memory again" in str(reason)
    assert attempts(fleet, job) == [("small", "ABORTED")]
    shown = json.loads(fleet.run("fleet", "show", "small", "--json").stdout)
    assert shown["device"]["admin"]["quarantined"] is False


def test_the_next_job_is_refused_before_it_runs(fleet: Fleet) -> None:
    """The device is the same one, and its limit was not raised."""
    after = predicted(fleet, "small")
    assert after["memory_source"] == "measured"
    assert int(str(after["memory_bytes"])) > LIMIT_MB * 1_000_000
    code, _ = schedule(fleet, "--fleet", "name=small", "--wait")
    assert code == 1
    job, state, reason = jobs(fleet)[-1]
    assert (state, attempts(fleet, job)) == ("FAILED", [("small", "REFUSED")])
    assert "300.0 MB available to a job (job_memory_bytes in config.toml)" in str(reason)


def test_a_larger_device_takes_it_and_shows_what_it_needs(fleet: Fleet) -> None:
    code, output = schedule(fleet, "--any-device", "--wait")
    assert code == 0, output
    job, state, _ = jobs(fleet)[-1]
    assert state == "SUCCEEDED" and attempts(fleet, job)[-1] == ("large", "DONE")
    ((peak,),) = fleet.query("SELECT peak_memory_bytes FROM runs")
    assert int(str(peak)) > USED_MB * 1_000_000
    for name in ("small", "large"):
        found = predicted(fleet, name)
        assert found["memory_source"] == "measured"
        assert int(str(found["memory_bytes"])) >= int(str(peak))
