"""`results list`, `jobs list` and ids as an operator sees them, piped and at 80 columns."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.support import noop_benchmark as toy
from tests.support.processes import BIN, Fleet, fleet_in
from tests.support.terminal import Terminal

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A controller without devices, jobs and results."""
    with fleet_in(tmp_path_factory.mktemp("empty")) as fleet:
        fleet.start_controller()
        yield fleet


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Four results of two settings, two jobs that failed, and one that an operator retried."""
    folder = tmp_path_factory.mktemp("listing")
    with fleet_in(folder) as fleet:
        fleet.start_controller("--catalog", str(toy.make_catalog(folder / "catalog")))
        fleet.start_agent("one")
        fleet.start_agent("two")
        toy_with = ("schedule", "toy", "--wait", "--max-attempts", "1")
        done = fleet.run(
            *toy_with, *("--param", f"marks={fleet.marks}", "--param", "duration_s=0.1,0.2")
        )
        assert done.returncode == 0, done.stdout
        done = fleet.run(*toy_with, *("--param", f"marks={folder}/nowhere"))
        assert done.returncode == 1, done.stdout
        fleet.failed = done.stdout  # type: ignore[attr-defined]
        yield fleet


def at_80_columns(fleet: Fleet, *arguments: str) -> str:
    terminal = Terminal([str(BIN / "controller"), *arguments], fleet.environment(), columns=80)
    assert terminal.wait() == 0, terminal.text()
    assert max(map(len, terminal.text().splitlines())) <= 80, terminal.text()
    return terminal.text()


def test_parameters_and_memory_stand_in_the_list_of_results(fleet: Fleet) -> None:
    piped = fleet.run("results", "list").stdout
    shown = at_80_columns(fleet, "results", "list")
    for text in (piped, shown):
        for word in ("device", "memory", "duration_s=0.1", "duration_s=0.2", "one", "two"):
            assert word in text
        assert "VALID" in text
    assert all(unit in piped for unit in ("MB", "ms (p90)"))
    assert "The same in all rows:" in shown and "benchmark toy" in shown
    runs = at_80_columns(fleet, "results", "list", "--runs")
    assert re.search(r"^ [0-9a-f]{8} ", runs, re.MULTILINE)


def test_failed_jobs_are_counted_and_their_logs_are_pointed_to(fleet: Fleet) -> None:
    for text in (fleet.run("results", "list").stdout, at_80_columns(fleet, "results", "list")):
        assert "2 jobs failed: `controller jobs list --state FAILED` says why" in " ".join(
            text.split()
        )
    only = fleet.run("results", "list", "--fleet", "name=one").stdout
    assert "1 job failed: `controller jobs list --state FAILED --fleet 'name=one'` says why" in only
    assert "failed" not in fleet.run("results", "list", "--since", "2099-01-01").stdout
    assert "failed" not in fleet.run("results", "list", "--json").stdout
    output: str = fleet.failed  # type: ignore[attr-defined]
    assert "No such file or directory" in output, "the cause, not only the beginning"
    hints = re.findall(r"`controller jobs logs ([0-9a-f]{8})`: (one|two) toy ", output)
    assert {name for _, name in hints} == {"one", "two"}
    logs = fleet.run("jobs", "logs", hints[0][0])
    assert "FileNotFoundError" in logs.stderr + logs.stdout
    shown = fleet.run("jobs", "show", hints[0][0]).stdout
    assert f"controller jobs logs {hints[0][0]}" in shown
    listed = fleet.run("jobs", "list").stdout
    assert "`controller jobs logs JOB` prints the output of a job" in listed


def test_the_report_lists_failed_jobs_and_joins_repetitions(fleet: Fleet) -> None:
    out = fleet.folder / "report.html"
    assert fleet.run("export", "--format", "html", "--out", str(out)).returncode == 0
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", out.read_text()))
    assert "2 jobs gave no result" in text and "2 jobs failed" in text
    assert "No such file or directory" in text
    assert "all sound" not in text


def test_short_ids_of_tables_are_understood_by_every_command(fleet: Fleet) -> None:
    short_jobs = re.findall(r"^ ([0-9a-f]{8}) ", fleet.run("jobs", "list").stdout, re.MULTILINE)
    assert len(short_jobs) == 6
    for short in short_jobs:
        assert fleet.run("jobs", "show", short).returncode == 0
    campaigns = fleet.run("campaign", "list").stdout
    (newest, *_) = re.findall(r"^ ([0-9a-f]{8}) ", campaigns, re.MULTILINE)
    listed = fleet.run("jobs", "list", "--campaign", newest, "--json").stdout
    campaign = json.loads(listed)[0]["campaign_id"]
    assert campaign.endswith(newest)
    assert campaign in fleet.run("campaign", "show", newest.upper()).stdout
    assert campaign in fleet.run("campaign", "show", "last").stdout
    assert campaign in fleet.run("jobs", "show", "last").stdout
    assert fleet.run("campaign", "watch", newest).returncode == 1
    run = json.loads(fleet.run("results", "list", "--runs", "--json").stdout)[0]["run_id"]
    assert run in fleet.run("results", "show", run[-8:]).stdout
    assert fleet.run("results", "show", "last").returncode == 0
    assert "the toy begins" not in fleet.run("jobs", "logs", "last").stdout, "its newest job failed"
    (device, *_) = json.loads(fleet.run("fleet", "list", "--json").stdout)
    shown = fleet.run("fleet", "show", device["device_id"][-8:])
    assert device["name"] in shown.stdout, shown.stderr


def test_an_ambiguous_part_lists_the_candidates(fleet: Fleet) -> None:
    jobs = json.loads(fleet.run("jobs", "list", "--json").stdout)
    done = fleet.run("jobs", "show", jobs[0]["job_id"][:8])
    assert done.returncode == 2
    assert "in their ids: campaign " in done.stderr or "in their ids: job " in done.stderr
    assert "toy" in done.stderr and "Give more of the id" in done.stderr
    assert fleet.run("jobs", "logs", "0123456789abcdef").returncode == 3


def test_an_unknown_state_is_an_error_that_names_the_states(fleet: Fleet) -> None:
    done = fleet.run("jobs", "list", "--state", "Foo")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no state 'Foo'" in done.stderr
    states = "QUEUED, ACTIVE, CANCELLING, SUCCEEDED, ESTIMATE, INVALID, FAILED, CANCELLED"
    assert states in " ".join(done.stderr.split())
    assert fleet.run("jobs", "list", "--state", "failed").returncode == 0


def test_no_word_is_cut_at_80_columns(fleet: Fleet) -> None:
    shown = at_80_columns(fleet, "jobs", "list", "--state", "FAILED")
    reason = json.loads(fleet.run("jobs", "list", "--state", "FAILED", "--json").stdout)[0][
        "reason"
    ]
    words = {word for word in reason.split() if len(word) <= 16}
    assert "FileNotFoundError:" in reason and "(attempt" in words
    assert words <= set(shown.split())


@pytest.mark.parametrize(
    ("command", "output"),
    [
        (("fleet", "list"), "No devices. `controller token create`"),
        (("fleet", "selector", "list"), "No selector is saved. `controller fleet selector set"),
        (("jobs", "list"), "No jobs. `controller schedule BENCHMARK`"),
        (("jobs", "list", "--state", "FAILED"), "No job matches"),
        (("results", "list"), "No results. `controller schedule BENCHMARK --wait`"),
        (("results", "list", "--runs"), "No results."),
        (("token", "list"), "No tokens. `controller token create`"),
    ],
)
def test_an_empty_list_says_what_to_do_next(
    empty: Fleet, command: tuple[str, ...], output: str
) -> None:
    done = empty.run(*command)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith(output)
    assert json.loads(empty.run(*command, "--json").stdout) == []
