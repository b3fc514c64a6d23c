"""What an operator sees of the scheduler: order, rest, placement, wait reasons."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support import noop_benchmark as toy
from tests.support.processes import Fleet, fleet_in, until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("scheduling")
    with fleet_in(folder) as fleet:
        with (fleet.home / "config.toml").open("a") as config:
            config.write("ageing_s = 1\n")
        catalog = toy.make_catalog(folder / "catalog")
        for name in ("toy-one", "toy-two"):
            _like_toy(catalog, name)
        fleet.start_controller("--catalog", str(catalog))
        fleet.start_agent("one")
        fleet.start_agent("two")
        yield fleet


def _like_toy(catalog: Path, name: str) -> None:
    """A benchmark like `toy` with files of its own."""
    for kind in ("program", "benchmark"):
        folder = Path(shutil.copytree(catalog / kind / "toy", catalog / kind / name))
        text = (folder / "component.toml").read_text().replace('name = "toy"', f'name = "{name}"')
        (folder / "component.toml").write_text(text.replace("program/toy", f"program/{name}"))
    with (catalog / "program" / name / "main.py").open("a") as program:
        program.write(f"# {name}\n")


def ok(fleet: Fleet, *arguments: str) -> str:
    done = fleet.run(*arguments)
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout


def submit(fleet: Fleet, *arguments: str, benchmark: str = "toy") -> str:
    words = ("schedule", benchmark, "--param", f"marks={fleet.folder / 'marks'}", "--json")
    return str(json.loads(ok(fleet, *words, *arguments))["campaign_id"])


def jobs(fleet: Fleet, campaign: str) -> list[dict[str, Any]]:
    found = json.loads(ok(fleet, "jobs", "list", "--campaign", campaign, "--json"))
    assert isinstance(found, list)
    return found


def until_states(fleet: Fleet, campaign: str, *states: str) -> None:
    until(lambda: {job["state"] for job in jobs(fleet, campaign)} <= {*states}, f"{states}")


def shown(fleet: Fleet, campaign: str) -> str:
    """Return what `jobs show` prints for a campaign's last job."""
    return ok(fleet, "jobs", "show", jobs(fleet, campaign)[-1]["job_id"])


def ran(fleet: Fleet, *campaigns: str) -> list[tuple[str, str, datetime, datetime]]:
    """Campaign, device, begin and end of all attempts, in their order."""
    rows = fleet.query(
        "SELECT campaign_id, device, created_at, finished_at FROM attempts ORDER BY epoch"
    )
    return [
        (str(row[0]), str(row[1]), *(datetime.fromisoformat(str(at)[:-1]) for at in row[2:]))
        for row in rows
        if row[0] in campaigns
    ]


def test_each_kind_of_waiting_says_why(fleet: Fleet) -> None:
    """A device that is busy, one that is away, a turn that has not come, a rest; those of others
    (drained, reserved, quarantined, paused, unsigned) stand in the tests of these.
    """
    busy = submit(fleet, "--fleet", "name=one", "--param", "duration_s=20")
    until_states(fleet, busy, "ACTIVE")
    queue = submit(fleet, "--fleet", "name=one", "--repeat", "2")
    job = jobs(fleet, busy)[0]["job_id"][-8:]
    assert f"one runs job {job}; 1 queued job for it runs first" in shown(fleet, queue)
    fleet.kill("two", signal.SIGKILL)
    until(lambda: fleet.presence("two") == "offline", "the end of its lease")
    away = submit(fleet, "--fleet", "name=two")
    assert "two is offline" in shown(fleet, away)
    anywhere = submit(fleet, "--any-device")
    assert "none of 2 devices is free for it: 1 busy, 1 offline" in shown(fleet, anywhere)
    turns = submit(fleet, "--fleet", "name=one", "--interleave", "--param", "duration_s=0,0.1")
    first = jobs(fleet, turns)[0]["job_id"][-8:]
    assert f"interleaved: job {first} runs first" in shown(fleet, turns)
    fleet.start_agent("two")
    ok(fleet, "jobs", "cancel", busy)
    for campaign in (queue, away, anywhere, turns):
        until_states(fleet, campaign, "SUCCEEDED")
    rest = submit(fleet, "--fleet", "name=one", "--repeat", "2", "--cool-down", "3s")
    until(lambda: "one cools down for" in shown(fleet, rest), "the rest")
    until_states(fleet, rest, "SUCCEEDED")
    (*_, before), (*_, begin, _) = ran(fleet, rest)
    assert (begin - before).total_seconds() > 2.5, "the device rested between the two"


def test_waiting_is_worth_priority_and_priority_overtakes(fleet: Fleet) -> None:
    """With `ageing_s` of one second five steps are worth five seconds."""
    ok(fleet, "fleet", "drain", "one", "two")
    try:
        words = ("--fleet", "name=one")
        early = submit(fleet, *words)
        high = submit(fleet, *words, "--priority", "1000")
        began = datetime.fromisoformat(jobs(fleet, early)[0]["created_at"][:-1])

        def age_s() -> float:
            late = submit(fleet, *words, "--priority", "2")
            aged.append(late)
            created = jobs(fleet, late)[0]["created_at"]
            return (datetime.fromisoformat(created[:-1]) - began).total_seconds()

        aged: list[str] = []
        until(lambda: age_s() > 2.5, "more waiting than two steps are worth")
    finally:
        ok(fleet, "fleet", "undrain", "one", "two")
    until_states(fleet, early, "SUCCEEDED")
    until_states(fleet, aged[-1], "SUCCEEDED")
    order = [campaign for campaign, *_ in ran(fleet, early, high, aged[-1])]
    assert order == [high, early, aged[-1]]


def test_any_device_is_the_one_that_has_the_blobs(fleet: Fleet) -> None:
    for name in ("one", "two"):
        known = submit(fleet, "--fleet", f"name={name}", benchmark=f"toy-{name}")
        until_states(fleet, known, "SUCCEEDED")
        chosen = submit(fleet, "--any-device", benchmark=f"toy-{name}")
        until_states(fleet, chosen, "SUCCEEDED")
        assert [device for _, device, *_ in ran(fleet, chosen)] == [name]
