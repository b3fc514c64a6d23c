"""A fleet of thousands by the commands: lists, plans and reasons, without an agent of any."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import Iterator

import pytest

from fleetmark_controller.identity.ca import Authority
from fleetmark_core.capabilities import Capabilities, Software, Storage
from tests.support import noop_benchmark as toy
from tests.support.processes import Fleet, fleet_in
from tests.support.stores import TestStore

pytestmark = [pytest.mark.e2e]
DEVICES = 1_000


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, x86_device: Capabilities) -> Iterator[Fleet]:
    """A controller whose store knows many devices, each with facts of its own."""
    with fleet_in(tmp_path_factory.mktemp("large")) as fleet:
        store = TestStore(fleet.home / "results.db", x86_device)
        software = tuple(Software(f"tool-{n}", "1.0", f"/usr/bin/tool-{n}") for n in range(90))
        store.connection.execute("PRAGMA synchronous = OFF")
        for number in range(DEVICES):
            store.facts = dataclasses.replace(
                x86_device, storage=Storage(10**12, 10**11 + number), software=software
            )
            store.hello(f"device-{number:04}")
        store.connection.close()
        Authority(fleet.home, time.time_ns())  # a store of a fleet has the CA that it trusts
        fleet.start_controller("--catalog", str(toy.make_catalog(fleet.folder / "catalog")))
        yield fleet


def ok(fleet: Fleet, *arguments: str) -> str:
    done = fleet.run(*arguments)
    assert done.returncode == 0, f"{arguments}: {done.stdout[-500:]}{done.stderr[-500:]}"
    return done.stdout


def test_all_devices_are_listed_however_large_their_capabilities_are(fleet: Fleet) -> None:
    listed = ok(fleet, "fleet", "list", "--json")
    assert len(listed) > 4 << 20, "more than a message of a device may have"
    devices = json.loads(listed)
    assert [device["name"] for device in devices] == [f"device-{n:04}" for n in range(DEVICES)]
    assert {device["presence"] for device in devices} == {"offline"}
    (one,) = json.loads(ok(fleet, "fleet", "list", "--json", "--fleet", "name=device-0007"))
    assert one == devices[7]


def test_the_largest_campaign_is_stored_and_every_job_says_why_it_waits(fleet: Fleet) -> None:
    """10,000 jobs, on purpose."""
    words = ("schedule", "toy", "--repeat", "10", "--param", "marks=/tmp")
    refused = fleet.run(*words)
    assert refused.returncode == 2 and "--max-jobs 10000" in refused.stderr
    submitted = json.loads(ok(fleet, *words, "--max-jobs", "10000", "--json"))
    assert len(submitted["jobs"]) == 10_000
    jobs = json.loads(ok(fleet, "jobs", "list", "--campaign", "last", "--json"))
    assert len(jobs) == 10_000
    waiting = {re.sub(r"^device-\d+ ", "", job["wait_reason"]) for job in jobs}
    assert waiting == {
        "is offline",
        "is offline; 1 queued job for it runs first",
        *(f"is offline; {n} queued jobs for it run first" for n in range(2, 10)),
    }
    shown = ok(fleet, "jobs", "show", jobs[-1]["job_id"])
    assert "device-0999 is offline; 9 queued jobs for it run first" in shown
    assert "10000 queued" in ok(fleet, "campaign", "show", "last")
    assert "Cancelling 10,000 jobs" in ok(fleet, "campaign", "cancel", "last")
