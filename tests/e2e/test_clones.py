"""Two devices from one disk image: noticed, held back, and made two devices."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.support import noop_benchmark
from tests.support.processes import BIN, Fleet, environment, fleet_in, until

pytestmark = pytest.mark.e2e


@pytest.fixture
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("clones")
    with fleet_in(folder) as fleet:
        catalog = noop_benchmark.make_catalog(folder / "catalog")
        fleet.start_controller("--catalog", str(catalog))
        yield fleet


def agent(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / "agent"), *words],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def device(fleet: Fleet, name: str) -> dict[str, object]:
    found = json.loads(fleet.run("fleet", "list", "--json").stdout)
    return next(dict(d) for d in found if d["name"] == name)


def test_a_copied_home_is_noticed_and_becomes_a_device_of_its_own(fleet: Fleet) -> None:
    fleet.start_agent("one")
    fleet.kill("one")
    copy = fleet.folder / "copy"
    shutil.copytree(fleet.folder / "one", copy)
    fleet.start_agent("one")
    first = device(fleet, "one")["device_id"]
    fleet._start(
        "agent",
        *("start", "--home", str(copy), "--controller", fleet.address, "--name", "one"),
        *("--allow-folder", str(fleet.marks)),
        called="two",
    )

    # Noticed: the log, the list, the audit log and the second agent's log say so.
    until(lambda: "two agents use its identity" in fleet.run("fleet", "list").stdout, "a mark")
    assert any(
        (line.event, line.fields.get("device")) == ("shared identity detected", "one")
        for line in fleet.logged("controller")
    )
    held = fleet.query("SELECT actor, action, subject FROM audit WHERE action = 'device.hold'")
    assert held == [("controller", "device.hold", first)]
    assert fleet.query("SELECT count(*) FROM events WHERE kind = 'alarm.identity_shared'") == [(1,)]
    until(
        lambda: any(
            "another agent is connected with the identity of one" in fleet.log(name)
            for name in ("one", "two")
        ),
        "the second agent's log",
    )

    # Held back: a job waits, and says why.
    done = fleet.run("schedule", "toy", "--param", f"marks={fleet.marks}", "--json")
    campaign = json.loads(done.stdout)["campaign_id"]
    until(
        lambda: "two agents use its identity" in fleet.run("jobs", "list").stdout,
        "the reason that the job waits",
    )

    # One of the two becomes a device of its own.
    assert "an agent runs with this home" in agent("new-identity", "--home", str(copy)).stderr
    fleet.kill("two")
    done = agent("new-identity", "--home", str(copy))
    assert done.returncode == 0 and first not in done.stdout, done.stderr
    fleet.start_agent("two", home=copy)
    assert device(fleet, "two")["device_id"] != first
    until(lambda: fleet.presence("one") == "online", "the first")
    assert fleet.run("fleet", "undrain", "one").returncode == 0
    waited = fleet.run("campaign", "watch", campaign)
    assert waited.returncode == 0, waited.stderr
    done = fleet.run("schedule", "toy", "--param", f"marks={fleet.marks}", "--wait", "--json")
    assert done.returncode == 0, done.stderr
    assert "drained" not in fleet.run("fleet", "list").stdout


def test_an_agent_that_restarts_often_is_not_taken_for_two(fleet: Fleet) -> None:
    for _ in range(5):
        fleet.start_agent("one")
        fleet.kill("one")
    fleet.start_agent("one")
    assert "drained" not in fleet.run("fleet", "list").stdout


def test_a_home_without_identity_is_not_changed(fleet: Fleet) -> None:
    done = agent("new-identity", "--home", str(fleet.folder / "none"))
    assert done.returncode == 4 and "not enrolled with a controller" in done.stderr
    assert not (fleet.folder / "none").exists()
