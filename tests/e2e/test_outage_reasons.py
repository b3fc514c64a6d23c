"""An agent logs why it has no connection, and logs it again when the reason changes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import noop_benchmark
from tests.support.processes import BIN, Fleet, environment, fleet_in, until

pytestmark = pytest.mark.e2e
UNTRUSTED = "is not the expected controller"
SETTLE_S = 8.0
"""Longer than the longest pause between two tries."""


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with fleet_in(tmp_path / "fleet") as made:
        yield made


def start_controller(fleet: Fleet) -> None:
    catalog = fleet.folder / "catalog"
    if not catalog.exists():
        noop_benchmark.make_catalog(catalog)
    fleet.start_controller("--catalog", str(catalog))


def status(home: Path) -> dict[str, Any]:
    command = [str(BIN / "agent"), "status", "--home", str(home), "--json"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def warnings(fleet: Fleet, text: str) -> list[str]:
    found = [line.text for line in fleet.logged("bench") if line.level == "warning"]
    return [line for line in found if text in line]


def test_each_reason_of_an_outage_is_logged_once(fleet: Fleet, tmp_path: Path) -> None:
    start_controller(fleet)
    fleet.start_agent("bench")
    home = fleet.folder / "bench"
    assert status(home)["outage"] == ""

    fleet.kill("controller")
    until(lambda: warnings(fleet, "no controller answers"), "the first reason", 30)
    until(lambda: "no controller answers" in status(home)["outage"], "the status", 10)
    assert not status(home)["connected"]

    # Another controller, with a CA of its own, takes the port.
    with fleet_in(tmp_path / "other") as other:
        other.address = fleet.address
        start_controller(other)
        until(lambda: warnings(fleet, UNTRUSTED), "the second reason", 30)
        until(lambda: UNTRUSTED in status(home)["outage"], "the status", 10)
        with pytest.raises(subprocess.TimeoutExpired):
            fleet.children["bench"].wait(SETTLE_S)
        assert len(warnings(fleet, UNTRUSTED)) == 1
    assert len(warnings(fleet, "no controller answers")) == 1

    start_controller(fleet)
    until(lambda: fleet.presence("bench") == "online", "the agent", 30)
    until(lambda: status(home)["outage"] == "", "the status", 10)
    # A new outage begins anew.
    fleet.kill("controller")
    until(lambda: len(warnings(fleet, "no controller answers")) == 2, "the next outage", 30)


def test_a_revoked_device_ends_with_the_reason(fleet: Fleet) -> None:
    start_controller(fleet)
    fleet.start_agent("bench")
    done = fleet.run("fleet", "revoke", "bench")
    assert done.returncode == 0, done.stderr
    assert fleet.children["bench"].wait(30) == 4
    assert "revoked" in fleet.log("bench")
    assert status(fleet.folder / "bench")["outage"] == ""
