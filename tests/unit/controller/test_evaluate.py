"""Evaluation of runs: the logs decide, whatever the job claims."""

from __future__ import annotations

import json
import pickle
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fleetmark_controller.evaluation.evaluate import evaluate
from fleetmark_controller.evaluation.run_facts import RunFacts
from fleetmark_controller.evaluation.samples import decode
from fleetmark_controller.evaluation.thresholds import Thresholds
from fleetmark_controller.store.db.connection import connect, migrate
from tests.support import evaluation_cases as cases
from tests.support.evaluation_cases import codes, evaluated

UNSTORED = ("samples", "problems", "loadgen_reasons", "energy_by_source", "sustained", "crosscheck")
LATENCIES = [f"latency_{name}_ms" for name in ("mean", "p50", "p90", "p95", "p99", "p999")]


def edited(tmp_path: Path, name: str, **values: Any) -> RunFacts:
    folder = cases.copy(name, tmp_path)
    cases.set_values(folder, **values)
    return evaluate(cases.inputs(folder, name))


@pytest.mark.parametrize("name", cases.PERFORMANCE)
def test_a_genuine_performance_run(name: str) -> None:
    facts = evaluated(name)
    assert facts.problems == []
    assert facts.loadgen_validity == "VALID"
    assert (facts.condition, facts.condition_reasons) == ("good", [])
    assert facts.accuracy is None
    assert facts.accuracy_metric is None
    assert facts.energy_j is None
    assert facts.metric_value is not None
    figures = [getattr(facts, column) for column in LATENCIES]
    assert figures[1:] == sorted(figures[1:])
    assert facts.throughput_samples_per_s is not None
    assert facts.temperature_max_c == 54
    assert facts.peak_memory_bytes is not None
    assert facts.peak_memory_bytes >= 50_000_000
    assert facts.loadgen_version == "6.0.17"
    assert facts.started_at is not None
    assert facts.started_at.endswith("Z")
    assert facts.samples is not None
    assert decode(facts.samples).size == facts.sample_count


@pytest.mark.parametrize("name", cases.ACCURACY)
def test_a_genuine_accuracy_run(name: str) -> None:
    facts = evaluated(name, telemetry=((), ()))
    assert facts.problems == []
    assert (facts.accuracy, facts.accuracy_metric) == (0.937, "top-1")
    assert facts.sample_count == 1000
    assert facts.loadgen_validity is None
    assert facts.condition == "good"
    assert facts.samples is None
    for column in (*LATENCIES, "metric_name", "metric_value", "throughput_samples_per_s"):
        assert getattr(facts, column) is None


def test_an_invalid_run_stays_invalid() -> None:
    facts = evaluated("singlestream_invalid")
    assert facts.loadgen_validity == "INVALID"
    assert facts.problems == []
    assert codes(facts) == {"loadgen_errors"}
    assert facts.metric_value is not None
    assert facts.loadgen_reasons == [
        "minimum duration not reached",
        "Decrease the expected latency so the loadgen pre-generates more queries.",
    ]
    assert evaluated("singlestream_performance").loadgen_reasons == []


def test_facts_are_columns_of_table_run(tmp_path: Path) -> None:
    migrate(tmp_path / "results.db")
    with closing(connect(tmp_path / "results.db", read_only=True)) as store:
        columns = {row[1] for row in store.execute("PRAGMA table_info(run)")}
    assert {name for name in vars(RunFacts()) if name not in UNSTORED} <= columns


def test_it_runs_in_a_process_pool() -> None:
    job = cases.inputs(cases.LOADGEN_LOGS / "offline_accuracy", "offline_accuracy")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(evaluate, job).result(60) == evaluate(job)
    assert pickle.loads(pickle.dumps(evaluate(job))) == evaluate(job)


# What a job claims.


def test_a_claim_of_validity_in_the_summary_is_found_out(tmp_path: Path) -> None:
    name = "singlestream_invalid"
    folder = cases.copy(name, tmp_path)
    summary = folder / "mlperf_log_summary.txt"
    summary.write_text(summary.read_text().replace("Result is : INVALID", "Result is : VALID"))
    facts = evaluate(cases.inputs(folder, name))
    assert facts.loadgen_validity == "INVALID"
    assert "log_contradiction" in codes(facts)


def test_an_edited_verdict_is_found_out(tmp_path: Path) -> None:
    name = "singlestream_invalid"
    folder = cases.copy(name, tmp_path)
    cases.set_values(folder, result_validity="VALID", result_min_duration_met=True)
    summary = folder / "mlperf_log_summary.txt"
    summary.write_text(summary.read_text().replace("Result is : INVALID", "Result is : VALID"))
    facts = evaluate(cases.inputs(folder, name))
    assert facts.loadgen_validity == "INVALID"
    assert any("of 1 s" in reason["text"] for reason in facts.condition_reasons)


def test_a_second_verdict_is_found_out(tmp_path: Path) -> None:
    name = "singlestream_invalid"
    folder = cases.copy(name, tmp_path)
    cases.append(folder, "result_validity", "VALID")
    facts = evaluate(cases.inputs(folder, name))
    assert facts.loadgen_validity == "INVALID"
    assert "log_contradiction" in codes(facts)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("singlestream_performance", {"early_stopping_latency_ss": 1000}),
        ("singlestream_performance", {"result_qps_with_loadgen_overhead": 1e6}),
        ("singlestream_performance", {"result_query_count": 100_000}),
        ("multistream_performance", {"early_stopping_latency_ms": 10}),
        ("offline_performance", {"result_samples_per_second": 1e6}),
        ("offline_performance", {"generated_samples_per_query": 10}),
        ("server_performance", {"result_completed_samples_per_sec": 50_000.0}),
        ("singlestream_performance", {"result_min_queries_met": False}),
        ("singlestream_performance", {"effective_min_query_count": 1_000_000}),
    ],
)
def test_edited_figures_do_not_fit_the_others(
    tmp_path: Path, name: str, values: dict[str, Any]
) -> None:
    facts = edited(tmp_path, name, **values)
    assert "log_contradiction" in codes(facts)
    assert facts.condition == "suspicious"


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("singlestream_performance", {"early_stopping_latency_ss": 1000}),
        # A latency that occurred, between the percentile and the maximum, but at another place.
        ("singlestream_performance", {"early_stopping_latency_ss": 94_300}),
        ("singlestream_performance", {"early_stopping_latency_ss": 105_400}),
        ("multistream_performance", {"early_stopping_latency_ms": 10}),
        ("multistream_performance", {"early_stopping_latency_ms": 909_700}),
        # Fewer queries than an estimate needs.
        ("multistream_performance", {"result_query_count": 661, "effective_min_query_count": 1}),
        ("offline_performance", {"result_samples_per_second": 1e6}),
        ("server_performance", {"result_completed_samples_per_sec": 50_000.0}),
        ("singlestream_performance", {"early_stopping_met": False}),
        # The percentile of LoadGen's verdict is not that of the metric.
        ("singlestream_performance", {"effective_target_latency_percentile": 0.5}),
    ],
)
def test_an_official_figure_that_others_deny_makes_the_run_invalid(
    tmp_path: Path, name: str, values: dict[str, Any]
) -> None:
    facts = edited(tmp_path, name, **values)
    assert facts.loadgen_validity == "INVALID"
    assert "log_contradiction" in codes(facts) and not facts.submittable


def test_an_estimate_that_was_edited_everywhere_but_in_the_text(tmp_path: Path) -> None:
    facts = edited(tmp_path, "singlestream_performance", early_stopping_latency_ss=96_000)
    assert facts.loadgen_validity == "INVALID"
    assert any("own words" in reason["text"] for reason in facts.condition_reasons)


def test_a_second_estimate_makes_the_run_invalid(tmp_path: Path) -> None:
    name = "singlestream_performance"
    folder = cases.copy(name, tmp_path)
    cases.append(folder, "early_stopping_latency_ss", 90_000)
    assert evaluate(cases.inputs(folder, name)).loadgen_validity == "INVALID"


@pytest.mark.parametrize("name", cases.PERFORMANCE)
def test_what_loadgen_wrote_denies_nothing(tmp_path: Path, name: str) -> None:
    facts = evaluate(cases.inputs(cases.copy(name, tmp_path), name))
    assert facts.loadgen_validity == "VALID" and "log_contradiction" not in codes(facts)


_SINGLE, _MULTI = "singlestream_performance", "multistream_performance"


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        (_SINGLE, "(ns)                : 238695", "(ns)                : 138695"),
        (_SINGLE, "90.00 percentile latency (ns)   : 94311", "90.00 percentile latency (ns)   : 9"),
        (_SINGLE, "90.0th percentile estimate: 96213", "90.0th percentile estimate: 86213"),
        (_SINGLE, "Scenario : SingleStream", "Scenario : Offline"),
        (_MULTI, "99.0th percentile estimate: 1350718", "99.0th percentile estimate: 9"),
        ("offline_performance", "Samples per second: ", "Samples per second: 9"),
        ("server_performance", "samples per second    : ", "samples per second    : 9"),
    ],
)
def test_a_summary_that_differs_from_the_detail_log_is_flagged(
    tmp_path: Path, name: str, old: str, new: str
) -> None:
    folder = cases.copy(name, tmp_path)
    summary = folder / "mlperf_log_summary.txt"
    text = summary.read_text()
    assert old in text
    summary.write_text(text.replace(old, new))
    facts = evaluate(cases.inputs(folder, name))
    assert "log_contradiction" in codes(facts) and facts.condition == "suspicious"


def test_edited_latencies_do_not_fit_the_samples(tmp_path: Path) -> None:
    name = "singlestream_performance"
    folder = cases.copy(name, tmp_path)

    def halve(entry: dict[str, Any]) -> None:
        if "latency_ns" in entry["key"] and entry["key"].startswith("result_"):
            entry["value"] //= 2

    cases.edit_log(folder, halve)
    assert "percentiles_disagree" in codes(evaluate(cases.inputs(folder, name)))


def test_samples_that_are_slower_than_loadgen_saw(tmp_path: Path) -> None:
    name = "singlestream_performance"
    folder = cases.copy(name, tmp_path)
    taken = np.fromfile(folder / "samples.i64", "<i8")
    (taken + 1_000_000).tofile(folder / "samples.i64")
    assert "percentiles_disagree" in codes(evaluate(cases.inputs(folder, name)))
    taken[:10].tofile(folder / "samples.i64")
    assert codes(evaluate(cases.inputs(folder, name))) == {"samples_missing"}


def test_hostile_samples_are_not_stored(tmp_path: Path) -> None:
    name = "singlestream_performance"
    folder = cases.copy(name, tmp_path)
    np.array([-5], dtype="<i8").tofile(folder / "samples.i64")
    facts = evaluate(cases.inputs(folder, name))
    assert facts.samples is None
    assert codes(facts) == {"refused_figures"}
    assert facts.metric_value is not None


def test_a_claimed_accuracy_does_not_count(tmp_path: Path) -> None:
    name = "singlestream_accuracy"
    folder = cases.copy(name, tmp_path)
    claim = json.loads((folder / "result.json").read_text())
    claim["accuracy"]["value"] = 0.99
    (folder / "result.json").write_text(json.dumps(claim))
    facts = evaluate(cases.inputs(folder, name))
    assert facts.accuracy == 0.937
    assert codes(facts) == {"accuracy_claim"}
    assert not facts.submittable


def test_a_figure_that_counts_fewer_samples_than_were_computed_is_invalid(tmp_path: Path) -> None:
    name = "offline_performance"
    folder = cases.copy(name, tmp_path)
    counted = evaluate(cases.inputs(folder, name)).sample_count
    assert counted is not None
    for computed, validity in ((counted, "VALID"), (counted + 31, "INVALID")):
        claim = json.loads((cases.LOADGEN_LOGS / name / "result.json").read_text())
        claim["computed_sample_count"] = computed
        (folder / "result.json").write_text(json.dumps(claim))
        facts = evaluate(cases.inputs(folder, name))
        assert facts.loadgen_validity == validity
        assert bool(facts.problems) == (validity == "INVALID")
    assert f"computed {counted + 31} samples, but LoadGen counted {counted}" in facts.problems[0]


def test_outputs_without_a_number_are_a_reason_to_doubt(tmp_path: Path) -> None:
    name = "singlestream_performance"
    folder = cases.copy(name, tmp_path)
    claim = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**claim, "nonfinite_outputs": True}))
    assert codes(evaluate(cases.inputs(folder, name))) == {"nonfinite_outputs"}


@pytest.mark.parametrize("claimed", [-1, 1e300, float("nan"), "many", True, 1 << 60])
def test_absurd_memory_is_refused(tmp_path: Path, claimed: Any) -> None:
    name = "singlestream_performance"
    folder = cases.copy(name, tmp_path)
    (folder / "result.json").write_text(json.dumps({"peak_memory_bytes": claimed}))
    facts = evaluate(cases.inputs(folder, name))
    assert codes(facts) == {"refused_figures"}
    assert facts.peak_memory_bytes == 50_000_000


def test_more_memory_than_the_device_has_is_refused(tmp_path: Path) -> None:
    name = "singlestream_performance"
    device = {"capabilities": {"memory": {"total_bytes": 1 << 20, "swap_bytes": 0}}}
    final = {"started_unix_ns": 1, "provenance": device}
    facts = evaluate(cases.inputs(cases.LOADGEN_LOGS / name, name, final=final))
    assert codes(facts) == {"refused_figures"}
    assert facts.peak_memory_bytes is None


def test_a_stable_run_without_its_settings_is_suspicious(tmp_path: Path) -> None:
    name = "singlestream_performance"
    text = "nvpmodel: power mode MAXN wants a reboot of the device"
    for stable, found in (({"refused": [text]}, [text]), ({"not_set": [text]}, []), (None, [])):
        final = {"started_unix_ns": 1, "provenance": {"stable": stable}}
        facts = evaluate(cases.inputs(cases.LOADGEN_LOGS / name, name, final=final))
        reasons = [r["text"] for r in facts.condition_reasons if r["code"] == "setting_refused"]
        assert (reasons, facts.condition) == (found, "suspicious" if found else "good")
        assert facts.loadgen_validity == "VALID"


# What is missing or not what was ordered.


def without(name: str, role: str) -> RunFacts:
    files = {r: path for r, path in cases.files(cases.LOADGEN_LOGS / name).items() if r != role}
    return evaluated(name, files=files)


def test_missing_files() -> None:
    facts = without("singlestream_performance", "loadgen_detail")
    assert facts.problems == ["LoadGen's detail log is missing"]
    assert facts.loadgen_validity == "INVALID"
    assert facts.metric_value is None
    assert codes(without("singlestream_performance", "samples")) == {"samples_missing"}
    assert without("singlestream_performance", "result").problems == []
    facts = without("singlestream_accuracy", "loadgen_accuracy")
    assert facts.accuracy is None
    assert facts.loadgen_validity == "INVALID"
    facts = evaluated("singlestream_accuracy", labels_path=None)
    assert facts.problems == ["accuracy is unknown: the data set with labels is missing"]


def test_another_scenario_or_mode_than_ordered() -> None:
    order = {"scenario": "Offline", "mode": "performance", "profile": "quick"}
    facts = evaluated("singlestream_performance", order=order)
    assert facts.problems == ["LoadGen ran SingleStream, but the order asked for Offline"]
    assert facts.loadgen_validity == "INVALID"
    order = {"scenario": "SingleStream", "mode": "accuracy", "profile": "quick"}
    facts = evaluated("singlestream_performance", order=order)
    assert "LoadGen ran in mode PerformanceOnly" in facts.problems[0]
    assert facts.loadgen_validity == "INVALID"


def test_a_test_that_did_not_finish(tmp_path: Path) -> None:
    name = "singlestream_performance"
    folder = cases.copy(name, tmp_path)
    log = folder / "mlperf_log_detail.txt"
    lines = [line for line in log.read_text().splitlines() if '"result_' not in line]
    log.write_text("\n".join(lines))
    facts = evaluate(cases.inputs(folder, name))
    assert facts.problems == ["LoadGen did not finish: its log holds no result"]


def test_another_loadgen_than_locked() -> None:
    lock = {"job": {"loadgen": {"round": "v6.1", "package_version": "6.0.16"}}}
    facts = evaluated("singlestream_performance", lock=lock)
    assert codes(facts) == {"loadgen_version"}


def test_a_part_of_the_data_set(tmp_path: Path) -> None:
    name = "singlestream_accuracy"
    folder = cases.copy(name, tmp_path)
    path = folder / "mlperf_log_accuracy.json"
    path.write_text(json.dumps(json.loads(path.read_text())[:500]))
    facts = evaluate(cases.inputs(folder, name))
    assert "accuracy_incomplete" in codes(facts)
    assert facts.sample_count == 500


# What the device says.


def telemetry(**columns: Any) -> Any:
    names = ("elapsed_ms", *columns)
    length = max(len(values) for values in columns.values())
    return names, [[n * 500, *(values[n] for values in columns.values())] for n in range(length)]


@pytest.mark.parametrize(
    ("columns", "code"),
    [
        ({"foreign_cpu_percent": [30.0] * 10}, "competing_load"),
        ({"foreign_cpu_percent": [0.0] * 8 + [95.0, 99.0]}, "competing_load"),
        ({"temperature_c": [60.0, 85.0]}, "hot"),
        ({"throttled": [0, 1]}, "throttled"),
        ({"frequency_hz": [1.5e9, 1.5e9, 6e8]}, "frequency_drift"),
        ({"swap_bytes": [0, 5 << 20]}, "swap"),
    ],
)
def test_disturbances_are_named(columns: dict[str, Any], code: str) -> None:
    facts = evaluated("singlestream_performance", telemetry=telemetry(**columns))
    assert codes(facts) == {code}
    assert facts.condition == "suspicious"
    assert facts.loadgen_validity == "VALID"
    # Accuracy does not depend on these.
    assert evaluated("singlestream_accuracy", telemetry=telemetry(**columns)).condition == "good"


def test_no_telemetry_is_not_a_good_verdict() -> None:
    facts = evaluated("singlestream_performance", telemetry=((), ()))
    assert (facts.condition, facts.condition_reasons) == ("unchecked", [])
    cool = telemetry(temperature_c=[40.0], foreign_cpu_percent=[None])
    assert evaluated("singlestream_performance", telemetry=cool).condition == "unchecked"


def test_only_what_was_read_while_measuring_counts() -> None:
    name = "singlestream_performance"
    final = {"started_unix_ns": _started_ns(name) - 4_000_000_000, "provenance": {}}
    busy_before = telemetry(foreign_cpu_percent=[100.0] * 8 + [1.0] * 4)
    assert evaluated(name, telemetry=busy_before, final=final).condition == "good"
    busy_during = telemetry(foreign_cpu_percent=[1.0] * 8 + [100.0] * 4)
    assert codes(evaluated(name, telemetry=busy_during, final=final)) == {"competing_load"}


def _started_ns(name: str) -> int:
    from fleetmark_controller.loadgen.loadgen_log import parse_detail

    started = parse_detail(cases.LOADGEN_LOGS / name / "mlperf_log_detail.txt").started_unix_ns
    assert started is not None
    return started


def test_readings_that_cannot_be_are_refused() -> None:
    hostile = telemetry(
        temperature_c=[float("nan"), float("inf"), -1e9, "hot", None, True, 40.0, 10**400]
    )
    facts = evaluated("singlestream_performance", telemetry=hostile)
    assert facts.temperature_max_c == 40.0
    assert codes(facts) == {"refused_figures"}
    rows = (("temperature_c",), [[1, 2], "no row", None, []])
    assert codes(evaluated("singlestream_performance", telemetry=rows)) == {"refused_figures"}


def test_clocks(tmp_path: Path) -> None:
    name = "singlestream_performance"
    received = _started_ns(name) - 3600 * 10**9
    assert codes(evaluated(name, received_unix_ns=received)) == {"clock"}
    assert codes(evaluated(name, received_unix_ns=_started_ns(name))) == set()
    facts = edited(tmp_path, name, power_begin="01-01-1970 00:00:40.000")
    assert facts.started_at == "1970-01-01T00:00:40.000Z"
    assert codes(facts) == {"clock"}


def test_thresholds_come_from_the_benchmark() -> None:
    lock = {
        "job": {"benchmark": {"condition": {"temperature_c": 50, "unknown": 1, "swap_bytes": "x"}}}
    }
    assert codes(evaluated("singlestream_performance", lock=lock)) == {"hot"}
    assert Thresholds().overridden({"temperature_c": float("nan")}) == Thresholds()
    assert Thresholds().overridden([1]) == Thresholds()


# What MLPerf would take.


def long_run(tmp_path: Path, name: str = "singlestream_performance") -> Path:
    """A run of ten minutes: the short one with its times multiplied."""
    folder = cases.copy(name, tmp_path)
    cases.set_values(
        folder,
        effective_min_duration_ms=600_000,
        power_begin="11-23-2026 10:00:00.000",
        power_end="11-23-2026 10:10:00.100",
        result_qps_with_loadgen_overhead=_count(name) / 600.0,
    )

    def later(entry: dict[str, Any]) -> None:
        if entry["key"] == "power_end":
            entry["time_ms"] = 600_105.0

    cases.edit_log(folder, later)
    return folder


def _count(name: str) -> int:
    from fleetmark_controller.loadgen.loadgen_log import parse_detail

    return parse_detail(cases.LOADGEN_LOGS / name / "mlperf_log_detail.txt").query_count or 0


VALID = {"scenario": "SingleStream", "mode": "performance", "profile": "valid"}


def test_only_a_long_run_of_profile_valid_is_submittable(tmp_path: Path) -> None:
    name = "singlestream_performance"
    long = long_run(tmp_path)
    assert not evaluate(cases.inputs(long, name)).submittable, "quick"
    assert not evaluated(name, order=VALID).submittable, "short"
    facts = evaluate(cases.inputs(long, name, order=VALID))
    assert (facts.condition_reasons, facts.submittable) == ([], True)
    other = {"job": {"loadgen": {"round": "v5.1"}}}
    assert not evaluate(cases.inputs(long, name, order=VALID, lock=other)).submittable, "seeds"
    cases.append(long, "result_query_count", 1)
    assert not evaluate(cases.inputs(long, name, order=VALID)).submittable, "contradiction"


def test_a_complete_accuracy_run_of_profile_valid_is_submittable() -> None:
    order = {"scenario": "SingleStream", "mode": "accuracy", "profile": "valid"}
    assert evaluated("singlestream_accuracy", order=order).submittable
    assert not evaluated("singlestream_accuracy").submittable


# Sustained runs.


@pytest.mark.parametrize("name", ["singlestream_performance", "offline_performance"])
def test_a_sustained_run_has_a_series(name: str) -> None:
    job = cases.inputs(cases.LOADGEN_LOGS / name, name)
    plain, facts = evaluate(job), evaluate(replace(job, is_sustained=True))
    assert plain.sustained is None and plain.steady_start_s is None
    document = facts.sustained
    assert document is not None
    rates = [row[document["columns"].index("throughput_samples_per_s")] for row in document["rows"]]
    counted = sum(rates) * document["window_s"]
    assert facts.sample_count == pytest.approx(counted, rel=0.001)
    # These runs are too short for a steady state: a figure must not appear.
    assert document["steady"]["reason"] and facts.steady_throughput_samples_per_s is None


def test_a_run_that_is_not_proven_has_no_series(tmp_path: Path) -> None:
    name = "singlestream_performance"
    folder = cases.copy(name, tmp_path)
    (folder / "mlperf_log_detail.txt").write_text("")
    facts = evaluate(replace(cases.inputs(folder, name), is_sustained=True))
    assert facts.problems and facts.sustained is None


def test_a_server_run_has_no_series() -> None:
    name = "server_performance"
    job = cases.inputs(cases.LOADGEN_LOGS / name, name)
    assert evaluate(replace(job, is_sustained=True)).sustained is None


def test_the_peak_by_the_kernel_counts() -> None:
    """Telemetry reads once a second, and a program may report nothing or too little."""
    name = "singlestream_performance"
    job = cases.inputs(cases.LOADGEN_LOGS / name, name)

    def peak(value: object) -> int | None:
        provenance = {**job.final["provenance"], "peak_memory_bytes": value}
        return evaluate(
            replace(job, final={**job.final, "provenance": provenance})
        ).peak_memory_bytes

    plain = peak(None)
    assert peak(3_000_000_000) == 3_000_000_000
    for wrong in (1, -1, 1 << 60, 10**300, "many", True, float("nan")):
        assert peak(wrong) == plain
