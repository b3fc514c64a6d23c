"""The measured performance of a device, from the search to the runs that use the result."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.processes import Fleet, fleet_in

_OFFLINE = ("--scenario", "Offline", "--mode", "performance")
pytestmark = pytest.mark.e2e
JOB = ("schedule", "fashion-mnist", "--wait", "--param", "min_duration_s=0.2")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_in(tmp_path_factory.mktemp("finding")) as fleet:
        fleet.start_controller()
        fleet.start_agent("bench-01")
        yield fleet


def run_of(fleet: Fleet, *words: str) -> dict[str, Any]:
    """The newest run after a campaign; it may be INVALID on a busy machine."""
    done = fleet.run(*JOB, *words)
    assert done.returncode in (0, 1), done.stderr
    rows = fleet.query("SELECT run_id FROM runs ORDER BY run_id DESC LIMIT 1")
    shown = fleet.run("results", "show", str(rows[0][0]), "--json")
    assert shown.returncode == 0, shown.stderr
    found: dict[str, Any] = json.loads(shown.stdout)
    return found


def test_a_search_is_stored_shown_and_reported_to_the_next_run(fleet: Fleet) -> None:
    search = run_of(fleet, "--scenario", "Offline", "--mode", "find-performance")
    assert search["mode"] == "find-performance" and not search["submittable"]
    trace = search["search"]
    assert trace["found"] == pytest.approx(search["metric_value"], rel=1e-4)
    assert len(trace["runs"]) >= 3
    after = run_of(fleet, "--scenario", "Offline", "--mode", "performance")
    assert after["provenance"]["order"]["parameters"]["target_qps"] == trace["found"]
    conf = after["provenance"]["program_result"]["loadgen_user_conf"]
    assert f"target_qps = {trace['found'] * 1.1:.6g}" in conf
    # It is the same configuration all the same: comparable, and joined with its accuracy run.
    assert after["search"] is None and "target_qps" not in after["parameters"]


@pytest.mark.slow
def test_explicit_or_other_parameters_ignore_the_measured_rate(fleet: Fleet) -> None:
    mine = run_of(
        fleet, "--scenario", "Offline", "--mode", "performance", "--param", "target_qps=99"
    )
    assert mine["provenance"]["order"]["parameters"]["target_qps"] == 99
    other = run_of(
        fleet, "--scenario", "Offline", "--mode", "performance", "--param", "batch_size=7"
    )
    assert "target_qps" not in other["provenance"]["order"]["parameters"]
    # A replay gets the parameters of its run, or none, whatever was found since.
    for then in (mine, other):
        done = fleet.run("replay", then["run_id"])
        assert done.returncode in (0, 1), done.stderr
        rows = fleet.query("SELECT run_id FROM runs ORDER BY run_id DESC LIMIT 1")
        shown = fleet.run("results", "show", str(rows[0][0]), "--json").stdout
        now = json.loads(shown)["provenance"]["order"]["parameters"]
        assert now == then["provenance"]["order"]["parameters"]


def test_operators_see_each_test_of_a_search(fleet: Fleet) -> None:
    (run_id, search) = fleet.query("SELECT run_id, search FROM runs WHERE search IS NOT NULL")[0]
    shown = fleet.run("results", "show", str(run_id))
    assert "Found: " in shown.stdout and "asked samples/s" in shown.stdout
    out = fleet.folder / "runs.jsonl"
    done = fleet.run("export", "--format", "jsonl", "--out", str(out))
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    exported = next(row["search"] for row in rows if row["run_id"] == run_id)
    trace = json.loads(exported) if isinstance(exported, str) else exported
    assert trace == json.loads(str(search))


def test_a_compliance_test_runs_on_a_device(fleet: Fleet) -> None:
    ran = run_of(fleet, "--scenario", "SingleStream", "--mode", "TEST01")
    assert ran["mode"] == "TEST01"
    assert (
        "accuracy_log_sampling_target"
        in (ran["provenance"]["program_result"]["loadgen_audit_config"])
    )


@pytest.mark.slow
def test_server_is_reported_the_rate_that_was_found(fleet: Fleet) -> None:
    words = ("--scenario", "Server", "--param", "target_latency_ms=500")
    trace = run_of(fleet, *words, "--mode", "find-performance")["search"]
    assert trace["unit"] == "queries_per_s" and trace["latency_limit_ms"] == 500
    assert trace["found"]
    after = run_of(fleet, *words, "--mode", "performance")
    assert after["provenance"]["order"]["parameters"]["target_qps"] == trace["found"]


def test_a_job_that_does_not_fit_is_refused_before_anything_is_sent(fleet: Fleet) -> None:
    """At a rate whose queries LoadGen cannot hold: both figures are said."""
    done = fleet.run(
        *("schedule", "fashion-mnist", "--scenario", "Server", "--profile", "valid"),
        *("--mode", "performance", "--param", "target_qps=1000000"),
    )
    assert done.returncode == 3, done.stdout
    assert "of memory" in done.stderr and "available" in done.stderr
