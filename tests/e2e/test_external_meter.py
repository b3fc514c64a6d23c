"""docs/how-to/external-power-meter.md as written, with a made log of a real run, and refusals."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fleetmark_controller.evaluation.power_meter.alignment import RunTimes
from fleetmark_core.clock import parse_iso
from tests.e2e.test_docs import commands
from tests.support import ROOT
from tests.support.meter_logs import Floats, csv_text
from tests.support.processes import Fleet, fleet_in
from tests.support.sample_output import sample_outputs, unmatched_lines

pytestmark = pytest.mark.e2e
PAGE = "docs/how-to/external-power-meter.md"
SCHEDULE, DRY_RUN, IMPORT, SHOW, OTHER = commands(PAGE)
IDLE_W, LOAD_W = 2.0, 5.0


@dataclass
class Measured:
    """A fleet with one run, and the power that its device used."""

    fleet: Fleet
    times: RunTimes

    def shown(self) -> dict[str, Any]:
        done = self.fleet.run("results", "show", "last", "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def power(self, rate: float = 200) -> tuple[Floats, Floats]:
        """Times by the device's clock, and power: high from the start to the end of the job."""
        start, end = self.times.job_start_s, self.times.job_end_s
        at = np.arange(start - 9, end + 9, 1 / rate)
        rng = np.random.default_rng(1)
        power = np.where((at >= start) & (at <= end), LOAD_W, IDLE_W)
        return at, power + rng.normal(0, 0.05, at.size)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measured]:
    with fleet_in(tmp_path_factory.mktemp("meter")) as fleet:
        fleet.start_controller()
        fleet.start_agent("bench-01")
        done = fleet.run(*SCHEDULE[1:], "--param", "min_duration_s=4", timeout_s=400)
        assert done.returncode == 0, done.stdout + done.stderr
        ((payload,),) = fleet.query("SELECT payload FROM record WHERE kind = 'final'")
        final = json.loads(bytes(payload))  # type: ignore[arg-type]
        run = json.loads(fleet.run("results", "show", "last", "--json").stdout)
        job_start_s = final["started_unix_ns"] / 1e9
        start_s = parse_iso(run["started_at"]) / 1e9
        times = RunTimes(
            job_start_s,
            start_s,
            start_s + run["duration_s"],
            job_start_s + final["duration_ns"] / 1e9,
        )
        yield Measured(fleet, times)


def test_the_document(measured: Measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fleet = measured.fleet
    at, power = measured.power()
    Path("meter.csv").write_text(csv_text(at - at[0] + 7, power))
    before = measured.shown()
    dry = fleet.run(*DRY_RUN[1:])
    assert dry.returncode == 0, dry.stderr
    assert "Nothing was stored" in dry.stdout
    assert measured.shown() == before

    done = fleet.run(*IMPORT[1:])
    assert done.returncode == 0, done.stderr
    assert "by the alignment" in done.stdout
    after = measured.shown()
    assert after["energy_source"] == "external: Monsoon HVPM (board)"
    assert after["energy_official"] == 0
    true_j = LOAD_W * after["duration_s"]
    assert abs(after["energy_j"] - true_j) <= after["energy_uncertainty_j"]
    assert after["energy_uncertainty_j"] < 0.25 * true_j
    assert after["energy_per_query_j"] == after["energy_j"] / after["query_count"]
    assert after["energy_per_sample_j"] == after["energy_j"] / after["sample_count"]
    meter = json.loads(after["energy_meter"])
    assert meter["before"]["energy_j"] == before["energy_j"]
    assert meter["before"]["energy_source"] == before["energy_source"]
    assert meter["idle_w"] == pytest.approx(IDLE_W, abs=0.1)
    assert meter["options"]["align"] == "marker"
    offset = 7 - at[0]
    assert abs(meter["offset_s"] - offset) <= meter["offset_uncertainty_s"]
    files = [file for file in after["files"] if file["sha256"] == meter["log_sha256"]]
    assert [file["name"] for file in files] == ["power-meter.log"]

    (sample,) = sample_outputs((ROOT / PAGE).read_text())
    shown = fleet.run(*SHOW[1:])
    assert unmatched_lines(sample, shown.stdout) == []

    again = fleet.run(*IMPORT[1:])
    assert (again.returncode, "nothing was changed" in again.stdout) == (0, True)
    assert measured.shown() == after
    changed = fleet.run(*IMPORT[1:], "--scope", "cpu")
    assert changed.returncode == 4
    assert "this log with other options. Use --replace" in changed.stderr

    rows = [f"{t * 1000:.1f},5.0,{w / 5 * 1000:.3f}" for t, w in zip(at, power, strict=True)]
    Path("other.csv").write_text("\n".join(("time,volts,milliamps", *rows, "")))
    without = [word for word in OTHER[1:] if word != "--replace"]
    refused = fleet.run(*without)
    assert (refused.returncode, refused.stdout) == (4, "")
    assert "the run has the energy of another log" in refused.stderr
    conflict = json.loads(fleet.run(*without, "--dry-run", "--json").stdout)
    assert conflict["conflict"].startswith("has the energy of another log")
    replaced = fleet.run(*OTHER[1:])
    assert replaced.returncode == 0, replaced.stderr
    last = measured.shown()
    assert last["energy_source"] == "external: CSV (board)"
    assert last["energy_uncertainty_j"] is None
    assert last["energy_j"] == pytest.approx(true_j, rel=0.01)
    second = json.loads(last["energy_meter"])
    assert second["before"] == meter["before"], "the figures of the device, not of the first log"
    assert [file["name"] for file in last["files"]].count("power-meter.log") == 1

    acts = json.loads(fleet.run("audit", "show", "--json").stdout)
    found = [row for row in acts if row["action"] == "run.import_meter_log"]
    assert [row["subject"] for row in found] == [last["run_id"]] * 2
    assert second["log_sha256"] in json.dumps(found[1])
    assert fleet.run("audit", "verify").returncode == 0


def test_exports_have_the_columns(measured: Measured, tmp_path: Path) -> None:
    out = tmp_path / "runs.csv"
    assert measured.fleet.run("export", "--format", "csv", "--out", str(out)).returncode == 0
    (row,) = csv.DictReader(out.open())
    shown = measured.shown()
    assert float(row["energy_j"]) == pytest.approx(shown["energy_j"])
    assert row["energy_source"] == shown["energy_source"]
    assert json.loads(row["energy_meter"]) == json.loads(shown["energy_meter"])
    parquet = tmp_path / "runs.parquet"
    done = measured.fleet.run("export", "--format", "parquet", "--out", str(parquet))
    assert done.returncode == 0, done.stderr
    assert measured.fleet.run("results", "list", "--json").returncode == 0


REFUSED: dict[str, tuple[str, tuple[str, ...], int, str]] = {
    "no alignment": ("Time (s),Main Avg Power (mW)\n0,1\n1,1\n", (), 4, "--align marker"),
    "no step": (
        "Time (s),Main Avg Power (mW)\n" + "".join(f"{n},5000\n" for n in range(200)),
        ("--align", "marker"),
        4,
        "no clear step of power",
    ),
    "another time": (
        "timestamp voltage_V current_A\n" + "".join(f"{n} 5 1\n" for n in range(9)),
        ("--clock-offset", "0±1"),
        4,
        "does not cover the measured interval",
    ),
    "no uncertainty": ("x\n", ("--clock-offset", "0"), 2, "±"),
    "no meter": ("nothing\n", ("--align", "marker"), 4, "no headings of a known format"),
    "bad accuracy": ("x\n", ("--meter-accuracy", "much"), 2, "not a percentage"),
    "PTDaemon's log": ("Time,1,Watts,5\n", ("--align", "marker"), 2, "--align"),
    "PTDaemon's log with replace": ("Time,1,Watts,5\n", ("--replace",), 2, "--replace"),
    "PTDaemon's log with a scope": ("Time,1,Watts,5\n", ("--scope", "cpu"), 2, "--scope"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_cause_and_change_nothing(
    measured: Measured, tmp_path: Path, name: str
) -> None:
    text, options, code, message = REFUSED[name]
    path = tmp_path / "meter.log"
    path.write_text(text)
    before = measured.shown()
    done = measured.fleet.run("results", "import-power", "last", str(path), *options)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert message in done.stderr
    assert measured.shown() == before
    assert not list((measured.fleet.home / "blobs" / "partial").glob("meter-log*"))
