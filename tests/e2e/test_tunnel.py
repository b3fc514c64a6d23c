"""A device that reaches its controller only through an SSH tunnel, with a real OpenSSH."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import noop_benchmark as toy
from tests.support.processes import Fleet, fleet_in, free_port, until
from tests.support.ssh_server import SshServer, needs_ssh_server

pytestmark = [pytest.mark.e2e, needs_ssh_server]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with fleet_in(tmp_path / "fleet") as fleet:
        fleet.start_controller("--catalog", str(toy.make_catalog(tmp_path / "catalog")))
        yield fleet


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SshServer]:
    server = SshServer(tmp_path / "ssh")
    try:
        yield server
    finally:
        server.stop()


def submit(fleet: Fleet, duration_s: float) -> str:
    words = ("--param", f"marks={fleet.folder / 'marks'}", "--param", f"duration_s={duration_s}")
    done = fleet.run("schedule", "toy", *words, "--json")
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["campaign_id"])


def test_an_agent_enrolls_and_works_through_a_tunnel(
    fleet: Fleet, server: SshServer, tmp_path: Path
) -> None:
    port = int(fleet.address.rpartition(":")[2])
    tunnel = tmp_path / "tunnel 50%"  # gRPC parses a target as a URI
    first, second = tmp_path / "t1", tmp_path / "t2"
    for folder in (first, second):
        folder.mkdir(mode=0o700)
    tunnel.symlink_to(first)
    controller = [f"127.0.0.1:{number}" for number in (port, port + 1)]
    server.forward(*(f"{first}/{place[10:]}.sock:{place}" for place in controller))
    until((first / f"{port + 1}.sock").exists, "the tunnel")
    fleet.start_agent("one", address=f"unix:{tunnel}:{port}")
    campaign = submit(fleet, 3)
    running = "SELECT count(*) FROM jobs WHERE state = 'ACTIVE'"
    until(lambda: fleet.query(running) == [(1,)], "the run")

    # The connection is lost in the middle of the run. The next one has other ports: those of
    # loopback, as a server without UNIX sockets forwards them.
    server.cut()
    others = [free_port(), free_port()]
    pairs = list(zip(others, controller, strict=True))
    server.forward(*(f"127.0.0.1:{other}:{place}" for other, place in pairs))
    for other, place in pairs:
        (second / f"{place[10:]}.port").write_text(str(other))
    new = tmp_path / "tunnel.new"
    new.symlink_to(second)
    new.replace(tunnel)
    ended = f"SELECT state, attempts FROM jobs WHERE campaign_id = '{campaign}'"
    until(lambda: fleet.query(ended) == [("SUCCEEDED", 1)], "the result")
