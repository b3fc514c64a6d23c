"""A device keeps the name under which it enrolled, whatever becomes of its host's name."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import noop_benchmark
from tests.support.processes import BIN, Fleet, environment, fleet_in, until

pytestmark = pytest.mark.e2e


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with fleet_in(tmp_path / "fleet") as made:
        made.start_controller(
            "--catalog", str(noop_benchmark.make_catalog(made.folder / "catalog"))
        )
        yield made


def names(fleet: Fleet) -> list[str]:
    done = fleet.run("fleet", "list", "--json")
    return [device["name"] for device in json.loads(done.stdout) if device["presence"] == "online"]


def start_on_host(fleet: Fleet, host: str, *arguments: str) -> None:
    """Start the agent of one home on a machine of this name; it ends what ran before."""
    with (fleet.folder / "agent.log").open("ab") as log:
        fleet.children["agent"] = subprocess.Popen(
            [
                *("unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', host),
                *(str(BIN / "agent"), "start", "--home", str(fleet.folder / "agent")),
                *("--controller", fleet.address, *arguments),
            ],
            env={**environment(), "FLEETMARK_TOKEN": fleet.token},
            stdout=log,
            stderr=log,
        )


def stop(fleet: Fleet) -> None:
    fleet.children["agent"].terminate()
    assert fleet.children["agent"].wait(30) == 0
    until(lambda: names(fleet) == [], "the end of the agent", 30)


def test_a_changed_host_name_renames_no_device(fleet: Fleet) -> None:
    tried = subprocess.run(
        ["unshare", "--uts", "hostname", "tried"], capture_output=True, check=False
    )
    if tried.returncode:
        pytest.skip("needs root, for a host name of the test's own")
    start_on_host(fleet, "first")
    until(lambda: names(fleet) == ["first"], "the device", 60)
    stop(fleet)
    start_on_host(fleet, "dhcp-17")
    until(lambda: names(fleet) == ["first"], "the device under its name", 60)
    stop(fleet)
    # A name that was given counts, and is kept.
    start_on_host(fleet, "dhcp-17", "--name", "second")
    until(lambda: names(fleet) == ["second"], "the device under its new name", 60)
    stop(fleet)
    start_on_host(fleet, "dhcp-18")
    until(lambda: names(fleet) == ["second"], "the device under its new name", 60)
    # An operator's name counts more.
    assert fleet.run("fleet", "rename", "second", "third").returncode == 0
    stop(fleet)
    start_on_host(fleet, "dhcp-19", "--name", "fourth")
    until(lambda: names(fleet) == ["third"], "the device under its operator's name", 60)
