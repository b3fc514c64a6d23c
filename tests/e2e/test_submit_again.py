"""A campaign is submitted once, whatever becomes of the controller while its answer is awaited."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleetmark_controller.cli import watch
from fleetmark_controller.client.connection import Client
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.ids import uuid7
from fleetmark_protos.v1 import jobs_pb2
from tests.support import noop_benchmark
from tests.support.processes import BIN, Fleet, environment, fleet_in, until

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("again")
    with fleet_in(folder) as fleet:
        catalog = noop_benchmark.make_catalog(folder / "catalog")
        fleet.start_controller("--catalog", str(catalog))
        fleet.start_agent("one")
        yield fleet


def request(fleet: Fleet, campaign: str) -> jobs_pb2.SubmitRequest:
    marks = jobs_pb2.Values(values=[str(fleet.folder / "marks")])
    return jobs_pb2.SubmitRequest(
        campaign_id=campaign, benchmark="toy", parameters={"marks": marks}, profile="quick"
    )


class Deaf(Client):
    """Loses the first answer of a submission after the controller has stored the campaign."""

    lost = False

    def stream(self, method: Any, request: Any) -> Iterator[Any]:
        events = list(super().stream(method, request))
        if not self.lost:
            self.lost = True
            yield events[0]
            raise FleetmarkError(ErrorKind.UNREACHABLE, "the connection broke")
        yield from events


def test_a_lost_answer_is_asked_for_again(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    campaign = uuid7()
    with Deaf(fleet.address, fleet.credentials) as client:
        *_, last = watch.submit(client, request(fleet, campaign))
        assert client.lost
    stored = fleet.query(f"SELECT job_id FROM jobs WHERE campaign_id = '{campaign}'")
    assert [(job.job_id,) for job in last.result.jobs] == stored and len(stored) == 1
    assert f"Campaign {campaign}" in capsys.readouterr().err
    rows = fleet.query(f"SELECT action FROM audit WHERE subject = '{campaign}'")
    assert rows == [("campaign.submit",)]


def test_an_id_stands_for_one_request(fleet: Fleet) -> None:
    campaign = uuid7()
    with Client(fleet.address, fleet.credentials) as client:
        asked = request(fleet, campaign)
        *_, first = client.stream(client.jobs.Submit, asked)
        *_, again = client.stream(client.jobs.Submit, asked)
        assert [j.job_id for j in again.result.jobs] == [j.job_id for j in first.result.jobs]
        asked.priority = 5
        with pytest.raises(FleetmarkError, match="submitted with another request") as caught:
            list(client.stream(client.jobs.Submit, asked))
    assert caught.value.kind is ErrorKind.USAGE
    assert fleet.query(f"SELECT count(*) FROM jobs WHERE campaign_id = '{campaign}'") == [(1,)]


@pytest.mark.parametrize("campaign", ["x" * 65, "a b", "\x1b[2J", "../../x"])
def test_an_id_that_could_not_be_shown_is_refused(fleet: Fleet, campaign: str) -> None:
    with Client(fleet.address, fleet.credentials) as client:
        with pytest.raises(FleetmarkError, match="campaign id") as caught:
            list(client.stream(client.jobs.Submit, request(fleet, campaign)))
        assert caught.value.kind is ErrorKind.USAGE


def test_a_controller_that_is_killed_while_it_submits_costs_no_campaign(fleet: Fleet) -> None:
    """Killed at moments of all kinds; the command goes on, and its campaign counts once."""
    for delay_s in (0.0, 0.005, 0.02, 0.05, 0.1):
        before = fleet.query("SELECT count(*) FROM campaigns")
        words = (
            "schedule",
            "toy",
            "--param",
            f"marks={fleet.folder / 'marks'}",
            "--wait",
            "--json",
        )
        child = subprocess.Popen(
            [str(BIN / "controller"), *words],
            env=fleet.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert child.stderr is not None
        first = child.stderr.readline()
        time.sleep(delay_s)
        fleet.kill("controller", signal.SIGKILL)
        fleet.start_controller("--catalog", str(fleet.folder / "catalog"))
        out, errors = child.communicate(timeout=120)
        assert child.returncode == 0, first + errors
        campaign = json.loads(out)["campaign_id"]
        assert first == f"Campaign {campaign}\n"
        until(lambda: fleet.presence("one") == "online", "the device")
        after = fleet.query("SELECT count(*) FROM campaigns")
        assert int(str(after[0][0])) == int(str(before[0][0])) + 1
        jobs = fleet.query(f"SELECT job_id FROM jobs WHERE campaign_id = '{campaign}'")
        assert len(jobs) == 1
        # On a busy machine a restart may take longer than the fleet's short lease; then the job may
        # be assigned again, and its other result is kept beside the one that counts.
        runs = fleet.query(f"SELECT official FROM runs WHERE campaign_id = '{campaign}'")
        assert [run for run in runs if run == (1,)] == [(1,)]


def test_without_a_controller_it_ends_at_once(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(BIN / "controller"), "schedule", "toy", "--controller", "127.0.0.1:1", "--wait"],
        env={**environment(), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (4, 5) and "Campaign" not in done.stderr
