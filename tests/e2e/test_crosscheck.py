"""`controller crosscheck`: a run's figure by its parts, measured on the run's device."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.test_docs import commands
from tests.support import ROOT
from tests.support.processes import Fleet, fleet_in
from tests.support.sample_output import sample_outputs, unmatched_lines

pytestmark = pytest.mark.e2e
*_, CROSSCHECK = commands("docs/how-to/comparing.md")
JOB = ("schedule", "fashion-mnist", "--wait", "--param", "min_duration_s=0.5")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_in(tmp_path_factory.mktemp("crosscheck")) as fleet:
        fleet.start_controller()
        fleet.start_agent("bench-01")
        for scenario in ("SingleStream", "Offline", "Server"):
            # A busy machine may leave an INVALID run, which has figures all the same.
            done = fleet.run(*JOB, "--scenario", scenario, "--mode", "performance,accuracy")
            assert done.returncode in (0, 1), done.stderr
        yield fleet


def run_of(fleet: Fleet, scenario: str, mode: str = "performance") -> str:
    rows = fleet.query(f"SELECT run_id FROM runs WHERE scenario = '{scenario}' AND mode = '{mode}'")
    return str(rows[0][0])


def test_the_parts_of_a_figure_add_up_to_it(fleet: Fleet) -> None:
    run = run_of(fleet, "SingleStream")
    results = fleet.query("SELECT * FROM results")
    done = fleet.run("crosscheck", run, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["run_id"] == run and found["unit"] == "µs per query"
    names = [row["name"] for row in found["rows"]]
    assert names[:4] == ["bare loop (p50)", "answer", "harness", "LoadGen"]
    levels = [row["us"] for row in found["rows"] if row["kind"] == "level"]
    parts = [row["us"] for row in found["rows"] if row["kind"] == "part"]
    assert levels[0] + sum(parts) == pytest.approx(levels[-1]) == found["figure_us"]
    ((metric, p90),) = fleet.query(
        f"SELECT metric_value, latency_p90_ms FROM runs WHERE run_id = '{run}'"
    )
    assert found["figure_us"] == pytest.approx(1000 * float(str(metric or p90)))
    assert found["native"] is None or found["native"]["tool"] == "onnxruntime_perf_test"
    made = found["crosscheck_run_id"]

    # The job is stored with its lockfile, and is no result: no figure, no row, not submittable.
    row = fleet.query(
        "SELECT mode, metric_value, latency_p50_ms, throughput_samples_per_s, submittable,"
        f" lockfile_sha256 = (SELECT lockfile_sha256 FROM runs WHERE run_id = '{run}'), device"
        f" FROM runs WHERE run_id = '{made}'"
    )
    assert row == [("crosscheck", None, None, None, 0, 1, "bench-01")]
    assert fleet.query("SELECT * FROM results") == results
    shown = json.loads(fleet.run("results", "show", made, "--json").stdout)
    assert "crosscheck.json" in {file["name"] for file in shown["files"]}
    assert shown["provenance"]["crosscheck"]["rounds"] == found["rounds"]
    assert "gives no verdict in crosscheck mode" in fleet.run("results", "show", made).stdout
    audit = json.loads(fleet.run("audit", "show", "--json").stdout)
    assert any(row["action"] == "run.crosscheck" and row["subject"] == run for row in audit)
    listed = json.loads(fleet.run("jobs", "list", "--campaign", "last", "--json").stdout)
    assert [job["configuration"] for job in listed if "crosscheck" in job["configuration"]]
    # Neither side of a comparison accepts it.
    compared = fleet.run("compare", "last", "last")
    assert compared.returncode in (2, 3) and "Traceback" not in compared.stderr


def test_the_table_for_operators(fleet: Fleet) -> None:
    run = run_of(fleet, "Offline")
    done = fleet.run(*(run if word == "RUN" else word for word in CROSSCHECK[1:]))
    assert done.returncode == 0, done.stderr
    table = sample_outputs((ROOT / "docs" / "how-to" / "comparing.md").read_text())[1]
    header = table.splitlines()[0].replace("query", "sample")
    assert unmatched_lines(header, done.stdout) == []
    for words in ("µs per sample", "= bare loop (mean)", "+ LoadGen", "= official figure"):
        assert words in done.stdout, done.stdout
    assert "Noise of the device" in done.stdout or "rounds fit" in done.stdout


def test_the_percentile_of_server_is_explained_at_the_rate_of_the_run(fleet: Fleet) -> None:
    run = run_of(fleet, "Server")
    done = fleet.run("crosscheck", run, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    names = [row["name"] for row in found["rows"] if row["kind"] == "part"]
    assert names[-6:] == [
        *("answer", "harness", "p99 instead of p50", "queue", "LoadGen", "the run instead of now")
    ]
    levels = [row["us"] for row in found["rows"] if row["kind"] == "level"]
    parts = [row["us"] for row in found["rows"] if row["kind"] == "part"]
    assert levels[0] + sum(parts) == pytest.approx(levels[-1]) == found["figure_us"]
    ((p99,),) = fleet.query(f"SELECT latency_p99_ms FROM runs WHERE run_id = '{run}'")
    assert found["figure_us"] == pytest.approx(1000 * float(str(p99)))
    # The rate is that of the run, which the harness chose from its calibration.
    shown = json.loads(fleet.run("results", "show", run, "--json").stdout)
    conf = shown["provenance"]["program_result"]["loadgen_user_conf"]
    (rate,) = (line.split(" = ")[1] for line in conf.splitlines() if "target_qps" in line)
    assert found["target_qps"] == pytest.approx(float(rate))
    assert any("busy" in note for note in found["notes"])
    made = fleet.query(
        "SELECT mode, metric_value, submittable FROM runs"
        f" WHERE run_id = '{found['crosscheck_run_id']}'"
    )
    assert made == [("crosscheck", None, 0)]


def test_runs_that_a_cross_check_cannot_explain_are_refused(fleet: Fleet) -> None:
    campaigns = fleet.query("SELECT count(*) FROM campaigns")
    done = fleet.run("crosscheck", run_of(fleet, "SingleStream", "accuracy"))
    assert done.returncode == 2 and "only runs in mode performance" in done.stderr
    assert fleet.run("crosscheck", "0000000").returncode == 3
    done = fleet.run("schedule", "fashion-mnist", "--mode", "crosscheck", "--dry-run")
    assert done.returncode != 0 and "has no mode 'crosscheck'" in done.stderr
    assert fleet.query("SELECT count(*) FROM campaigns") == campaigns
