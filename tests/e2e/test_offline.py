"""A device that reaches the controller and nothing else: no index, no mirror, no name server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from fleetmark_core.resource_model import size
from tests.support.namespaces import Namespace, namespace_skip_reason, own_namespace
from tests.support.processes import Fleet, fleet_in
from tests.support.wire import DOWN, Wire

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        bool(namespace_skip_reason()), reason=namespace_skip_reason() or "they can be made"
    ),
]
_SUITE = """
kind = "suite"
name = "versions"
version = "1.0"
title = "Two versions of a runtime, and one that needs NumPy 1"
tags = ["vision"]
license = "Apache-2.0"

[[suite.members]]
benchmark = "fashion-mnist"
variations = ["onnx"]

[[suite.members]]
benchmark = "fashion-mnist"
variations = ["onnxruntime-1.28"]

[[suite.members]]
benchmark = "fashion-mnist"
variations = ["tflite-runtime"]
"""
_REACH_OUT = """
import socket
for address in (("192.0.2.1", 443), ("127.0.0.1", 9)):
    try:
        socket.create_connection(address, 1)
    except OSError as error:
        print(error.errno)
"""


@dataclass
class Island:
    """A fleet with one agent on an island, and the only cable to it."""

    fleet: Fleet
    wire: Wire
    namespace: Namespace

    def run_campaign(self, *words: str) -> str:
        """Runs one to its successful end; returns its id."""
        done = self.fleet.run("schedule", *words, "--wait", timeout_s=280)
        assert done.returncode == 0, done.stdout + done.stderr
        rows = self.fleet.query("SELECT campaign_id FROM campaigns ORDER BY created_at DESC")
        return str(rows[0][0])

    def show(self, id_: str) -> dict[str, Any]:
        """What `jobs show` prints for programs."""
        done = self.fleet.run("jobs", "show", id_, "--json")
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def island(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Island]:
    catalog = tmp_path_factory.mktemp("catalog")
    (catalog / "suite" / "versions").mkdir(parents=True)
    (catalog / "suite" / "versions" / "component.toml").write_text(_SUITE)
    with own_namespace() as namespace, fleet_in(tmp_path_factory.mktemp("island")) as fleet:
        # The same ports in both namespaces: one for all work, and the next for enrollment.
        host, _, port = fleet.address.rpartition(":")
        wire, _ = (
            Wire(f"{host}:{number}", namespace.listen(number))
            for number in (int(port), int(port) + 1)
        )
        fleet.start_controller("--catalog", str(catalog))
        fleet.start_agent("robinson", prefix=namespace.prefix)
        yield Island(fleet, wire, namespace)


@pytest.fixture(scope="module")
def first(island: Island) -> str:
    return island.run_campaign("default")


def test_the_island_reaches_nothing_else(island: Island) -> None:
    import errno
    import subprocess
    import sys

    command = [*island.namespace.prefix, sys.executable, "-I", "-c", _REACH_OUT]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output.split() == [str(errno.ENETUNREACH), str(errno.ECONNREFUSED)]


def test_it_completes_the_default_suite(island: Island, first: str) -> None:
    rows = island.fleet.query(
        "SELECT precision, runtime, scenario, accuracy, metric_value FROM results"
        f" WHERE campaign_id = '{first}'"
    )
    assert len(rows) == 8
    assert all(accuracy > 0.93 and value > 0 for *_, accuracy, value in rows)


def test_the_same_campaign_again_moves_next_to_nothing(island: Island, first: str) -> None:
    before = island.wire.bytes[DOWN]
    second = island.run_campaign("default")
    moved = island.wire.bytes[DOWN] - before
    pages = [island.show(campaign) for campaign in (first, second)]
    assert [page["jobs_by_state"] for page in pages] == [{"SUCCEEDED": 16}] * 2
    assert pages[0]["bundle_bytes"] == pages[1]["bundle_bytes"]
    assert pages[0]["bytes_sent"] > 10_000_000, "models, data and wheels went over the wire"
    assert pages[1]["bytes_sent"] < 0.01 * pages[0]["bytes_sent"]
    assert moved < 0.01 * before, "neither orders nor acknowledgements add up"
    for campaign, page in zip((first, second), pages, strict=True):
        output = island.fleet.run("campaign", "show", campaign).stdout
        assert f"{size(page['bytes_sent'])} to devices" in output


def test_the_bytes_of_a_campaign_are_those_of_its_attempts(island: Island, first: str) -> None:
    listed = json.loads(island.fleet.run("jobs", "list", "--campaign", first, "--json").stdout)
    jobs = [island.show(job["job_id"]) for job in listed]
    sent = sum(attempt["bytes_sent"] for job in jobs for attempt in job["attempts"])
    page = island.show(first)
    assert page["bytes_sent"] == sent
    assert page["bundle_bytes"] == sum(job["bundle_bytes"] for job in jobs)


def test_versions_of_a_runtime_and_one_for_numpy_1_in_one_campaign(island: Island) -> None:
    words = ("--scenario", "Offline", "--mode", "accuracy", "--variation", "fp32")
    campaign = island.run_campaign("versions", *words)
    runs = island.fleet.query(
        "SELECT runtime, runtime_version, device, accuracy FROM runs"
        f" WHERE campaign_id = '{campaign}'"
    )
    assert all(accuracy == pytest.approx(0.937, abs=0.003) for *_, accuracy in runs)
    assert sorted(row[:3] for row in runs) == [
        ("onnxruntime", "1.23.2", "robinson"),
        ("onnxruntime", "1.28.0", "robinson"),
        ("tflite-runtime", "2.14.0", "robinson"),
    ]
    environments = (island.fleet.folder / "robinson" / "cache").glob("envs/*/numpy-*")
    majors = {path.name.split(".")[0] for path in environments}
    assert majors == {"numpy-1", "numpy-2"}
