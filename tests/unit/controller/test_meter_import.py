"""Import of a meter's log into a stored run: what it replaces, keeps, refuses and records."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.api.measured_interval import run_times
from fleetmark_controller.api.meter_logs import read_options, remove_partial_logs
from fleetmark_controller.evaluation.power_meter.meter_energy import MeterEnergy
from fleetmark_controller.evaluation.power_meter.options import MeterOptions
from fleetmark_controller.evaluation.ptdaemon import Power
from fleetmark_controller.lifecycle.retry_policy import AttemptOutcome
from fleetmark_controller.operations import meter_import, power_import, results
from fleetmark_controller.operations.meter_import import ImportPlan, MeterLog
from fleetmark_controller.operations.results import Evaluation
from fleetmark_controller.store.results import public_views, runs
from fleetmark_controller.store.security import audit
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.clock import iso
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.records import parse_final
from fleetmark_protos.v1 import results_pb2
from tests.support.stores import LOCK, TestStore, sealed

RUN: dict[str, Any] = {
    **{"device": "d1", "arch": "x86_64", "os": "Debian", "benchmark": "b"},
    **{"scenario": "Offline", "mode": "performance", "profile": "quick", "parameters": {}},
    **{"condition_reasons": [], "submittable": False, "lock_sha256": LOCK, "provenance": {}},
    **{"stored_at": "2026-01-01T00:00:00.000Z", "started_at": "2026-01-01T00:00:00.000Z"},
    **{"duration_s": 10.0, "query_count": 1, "sample_count": 100},
    **{"energy_j": 40.0, "energy_source": "ina3221 (board)", "power_mean_w": 4.0},
}
ENERGY = MeterEnergy(
    log_format="monsoon-powertool",
    title="Monsoon power monitor",
    rows=1000,
    readings=500,
    longest_gap_s=0.01,
    alignment="marker",
    offset_s=1.5,
    offset_uncertainty_s=0.2,
    energy_j=50.0,
    mean_w=5.0,
    peak_w=7.0,
    alignment_j=0.1,
    sampling_j=0.2,
    meter_j=0.5,
    idle_w=2.0,
)
LOG = MeterLog("ab" * 32, 1234, MeterOptions(align="marker", accuracy_percent=1.0), ENERGY)
OTHER = replace(LOG, sha256="cd" * 32, energy=replace(ENERGY, energy_j=60.0, meter_j=None))


@pytest.fixture
def store(tmp_path: Path, x86_device: Capabilities) -> TestStore:
    """A store with one run, `r`, whose program had an output named as the log would be."""
    store = TestStore(tmp_path / "results.db", x86_device)
    store.hello()
    store.submit("d1")
    (key,) = store.assign("d1")
    store.run(lambda c, fx, now: results.append(c, fx, now, key, sealed()))
    output = runs.RunFile("Power-Meter.log", "notes", "ef" * 32, 5)
    evaluation = Evaluation(AttemptOutcome.VALID, "", False, dict(RUN), (output,))
    store.run(lambda c, fx, now: results.finalise(c, fx, now, key, "r", evaluation))
    return store


def imported(store: TestStore, log: MeterLog, replace: bool = False) -> ImportPlan:
    return store.run(
        lambda c, fx, now: meter_import.import_log(c, fx, now, "op", "r", log, replace=replace)
    )


def row(store: TestStore) -> dict[str, Any]:
    columns, values = public_views.run(store.connection, "r")
    return dict(zip(columns, values, strict=True))


def file_names(store: TestStore) -> list[str]:
    return [file.name for file in runs.files(store.connection, "r")]


def test_the_figures_of_the_meter_are_in_the_columns(store: TestStore) -> None:
    plan = imported(store, LOG)
    assert (plan.is_known, plan.conflict) == (False, "")
    found = row(store)
    assert (found["energy_j"], found["power_mean_w"]) == (50.0, 5.0)
    assert (found["energy_per_query_j"], found["energy_per_sample_j"]) == (50.0, 0.5)
    assert found["energy_source"] == "external: Monsoon power monitor (board)"
    assert (found["energy_official"], found["energy_uncertainty_j"]) == (0, pytest.approx(0.8))
    meter = json.loads(found["energy_meter"])
    assert meter["before"] == {
        "energy_j": 40.0,
        "power_mean_w": 4.0,
        "energy_source": "ina3221 (board)",
        "energy_unavailable": None,
    }
    assert meter["energy_above_idle_j"] == 30.0
    assert (meter["log_sha256"], meter["log_bytes"]) == (LOG.sha256, 1234)
    assert meter["options"] == LOG.options.as_document()
    assert (
        "interval shifted by up to ±0.201 s" in meter["uncertainty_method"]
        and "estimate of the sampling" in meter["uncertainty_method"]
        and "meter ±1 %" in meter["uncertainty_method"]
    )
    columns, values = public_views.select(store.connection, "results")
    (result,) = values
    assert dict(zip(columns, result, strict=True))["energy_uncertainty_j"] == pytest.approx(0.8)
    assert runs.provenance(store.connection, "r") == "{}"


def test_an_output_of_the_same_name_is_kept(store: TestStore) -> None:
    imported(store, LOG)
    assert file_names(store) == ["Power-Meter.log", "power-meter-2.log"]


def test_the_same_log_again_changes_nothing(store: TestStore) -> None:
    imported(store, LOG)
    before, acts = row(store), len(list(audit.rows(store.connection)))
    store.now_ns += 10**9
    plan = imported(store, LOG)
    assert plan.is_known
    assert plan.columns["energy_j"] == 50.0
    assert row(store) == before
    assert len(list(audit.rows(store.connection))) == acts


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (OTHER, "the energy of another log"),
        (replace(LOG, options=replace(LOG.options, scope="cpu")), "with other options"),
    ],
)
def test_another_log_needs_replace(store: TestStore, log: MeterLog, words: str) -> None:
    imported(store, LOG)
    before = row(store)
    with pytest.raises(FleetmarkError, match=words) as error:
        imported(store, log)
    assert error.value.kind is ErrorKind.BAD_POWER_LOG
    assert error.value.next_step == "Use --replace"
    assert row(store) == before
    plan = imported(store, log, replace=True)
    assert words in plan.conflict
    after = row(store)
    assert after["energy_j"] == log.energy.energy_j
    assert json.loads(after["energy_meter"])["before"]["energy_j"] == 40.0
    assert file_names(store) == ["Power-Meter.log", "power-meter-2.log"]
    (first, second) = [
        act for act in audit.rows(store.connection) if act.action == "run.import_meter_log"
    ]
    assert json.loads(first.detail)["replaced"] == ""
    assert words in json.loads(second.detail)["replaced"]
    assert json.loads(second.detail)["options"] == log.options.as_document()


def test_the_official_energy_wins_and_is_replaced_only_on_demand(store: TestStore) -> None:
    imported(store, LOG)
    spl = runs.RunFile(power_import.NAME, power_import.ROLE, "12" * 32, 9)
    power = Power(4.5, 45.0, 10)
    store.run(lambda c, fx, now: power_import.import_power(c, fx, now, "op", "r", power, spl))
    found = row(store)
    assert (found["energy_j"], found["energy_official"]) == (45.0, 1)
    assert found["energy_per_sample_j"] == 0.45
    assert found["energy_uncertainty_j"] is None
    meter = json.loads(found["energy_meter"])
    assert meter["before"]["energy_j"] == 40.0, "the device's figure, not that of the first log"
    assert (meter["meter"], meter["log_sha256"]) == ("PTDaemon", spl.sha256)
    acts = [act for act in audit.rows(store.connection) if act.action == "run.import_power"]
    assert "the energy of another log" in json.loads(acts[0].detail)["replaced"]
    with pytest.raises(FleetmarkError, match="official energy of PTDaemon"):
        imported(store, LOG)
    imported(store, LOG, replace=True)
    found = row(store)
    assert found["energy_official"] == 0
    assert json.loads(found["energy_meter"])["before"]["energy_j"] == 40.0


def test_the_energy_of_ptdaemon_keeps_that_of_the_device(store: TestStore) -> None:
    spl = runs.RunFile(power_import.NAME, power_import.ROLE, "12" * 32, 9)
    power = Power(4.5, 45.0, 10)
    for _ in range(2):
        store.run(lambda c, fx, now: power_import.import_power(c, fx, now, "op", "r", power, spl))
        before = json.loads(row(store)["energy_meter"])["before"]
        assert (before["energy_j"], before["energy_source"]) == (40.0, "ina3221 (board)")
    acts = [act for act in audit.rows(store.connection) if act.action == "run.import_power"]
    replaced = [json.loads(act.detail)["replaced"] for act in acts]
    assert replaced == ["", "has the official energy of PTDaemon"]


def test_an_unknown_accuracy_gives_no_uncertainty(store: TestStore) -> None:
    imported(store, OTHER)
    assert row(store)["energy_uncertainty_j"] is None


def test_the_times_of_the_job_are_those_of_its_final_record(store: TestStore) -> None:
    payload = runs.final_record(store.connection, "r")
    assert payload is not None
    final = parse_final(payload)
    assert (final.started_unix_ns, final.duration_ns) == (0, 1)
    times, counts = run_times(store.connection, "r")
    assert (times.job_start_s, times.job_end_s) == (0, pytest.approx(1e-9))
    assert times.duration_s == counts.duration_s == 10


def refusal(store: TestStore) -> str:
    with pytest.raises(FleetmarkError) as error:
        run_times(store.connection, "r")
    assert error.value.kind is ErrorKind.BAD_POWER_LOG
    return error.value.what


def test_a_run_whose_start_is_that_of_its_job_has_no_known_interval(store: TestStore) -> None:
    store.connection.execute("UPDATE run SET started_at = ?", (iso(0),))
    assert "no valid power_begin" in refusal(store)


def test_a_run_without_its_final_record_is_refused(store: TestStore) -> None:
    store.connection.execute("UPDATE attempt SET final_seq = 99")
    assert "final record of this run is missing" in refusal(store)


def test_a_run_without_a_measured_interval_is_refused(store: TestStore) -> None:
    store.connection.execute("UPDATE run SET duration_s = NULL")
    assert "no measured interval" in refusal(store)


def test_uploads_that_a_killed_process_left_are_removed(tmp_path: Path) -> None:
    assert remove_partial_logs(tmp_path) == 0
    folder = tmp_path / "partial"
    folder.mkdir()
    for name in ("meter-log.00ff", "meter-log.11ee", "ab" * 32):
        (folder / name).write_bytes(b"x")
    assert remove_partial_logs(tmp_path) == 2
    assert [path.name for path in folder.iterdir()] == ["ab" * 32]


def test_options_pass_the_wire() -> None:
    message = results_pb2.MeterOptions(
        log_format="auto", align="marker", clock_offset_s=0.0, clock_uncertainty_s=0.5, scope="cpu"
    )
    assert read_options(message) == MeterOptions(
        align="marker", clock_offset_s=0.0, clock_uncertainty_s=0.5, scope="cpu"
    )
    assert read_options(results_pb2.MeterOptions()) == MeterOptions()


@given(st.binary(max_size=60))
def test_any_options_are_refused_or_checked(data: bytes) -> None:
    message = results_pb2.MeterOptions()
    try:
        message.ParseFromString(data)
    except Exception:
        return
    try:
        read_options(message)
    except FleetmarkError as error:
        assert error.kind is ErrorKind.USAGE
