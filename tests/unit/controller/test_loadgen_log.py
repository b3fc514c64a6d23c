"""LoadGen's logs, as LoadGen wrote them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from fleetmark_controller.loadgen import consistency
from fleetmark_controller.loadgen.loadgen_log import parse_detail
from fleetmark_controller.loadgen.rules import ROUND_SEEDS
from fleetmark_controller.loadgen.summary import read_summary
from fleetmark_core.clock import iso
from tests.support import LOADGEN_LOGS
from tests.support import evaluation_cases as cases
from tests.support.evaluation_cases import PERFORMANCE, RUNS, SCENARIOS


def summary(name: str) -> str:
    return (LOADGEN_LOGS / name / "mlperf_log_summary.txt").read_text()


def summary_figure(name: str, label: str) -> float:
    found = re.search(rf"^{re.escape(label)}\s*: ([\d.]+)$", summary(name), re.MULTILINE)
    assert found, label
    return float(found[1])


@pytest.mark.parametrize("name", RUNS)
def test_every_genuine_log_is_read_whole(name: str) -> None:
    log = parse_detail(LOADGEN_LOGS / name / "mlperf_log_detail.txt")
    assert (log.version, log.revision) == ("6.0.17", "d6147c7eb7")
    assert log.settings.scenario == SCENARIOS[name.split("_", maxsplit=1)[0]]
    assert log.settings.seeds == ROUND_SEEDS["v6.1"]
    assert log.bad_lines == 0
    assert log.contradictions == ()
    assert log.duration_s is not None
    assert 0 < log.duration_s < 5


@pytest.mark.parametrize("name", [*PERFORMANCE, "singlestream_invalid"])
def test_figures_are_those_of_loadgens_own_summary(name: str) -> None:
    result = parse_detail(LOADGEN_LOGS / name / "mlperf_log_detail.txt").result
    assert result is not None
    assert f"Result is : {result.validity}" in summary(name)
    latency = result.query_latency or result.latency
    assert latency.min_ns == summary_figure(name, "Min latency (ns)")
    assert latency.max_ns == summary_figure(name, "Max latency (ns)")
    assert latency.mean_ns == summary_figure(name, "Mean latency (ns)")
    for percentile, value in latency.percentiles.items():
        assert value == summary_figure(name, f"{percentile} percentile latency (ns)")


def test_the_official_metric_is_the_one_that_mlperf_takes() -> None:
    found = {}
    for name in PERFORMANCE:
        result = parse_detail(LOADGEN_LOGS / name / "mlperf_log_detail.txt").result
        assert result is not None
        found[name.split("_")[0]] = (result.metric_name, result.metric_value)
    estimate = re.search(r"90.0th percentile estimate: (\d+)", summary("singlestream_performance"))
    query_estimate = re.search(
        r"99.0th percentile estimate: (\d+)", summary("multistream_performance")
    )
    assert estimate
    assert query_estimate
    offline = summary_figure("offline_performance", "Samples per second")
    server = summary_figure("server_performance", "Completed samples per second")
    assert found["singlestream"] == ("early_stopping_latency_p90_ms", int(estimate[1]) / 1e6)
    assert found["multistream"] == (
        "early_stopping_query_latency_p99_ms",
        int(query_estimate[1]) / 1e6,
    )
    assert found["offline"] == ("samples_per_s", pytest.approx(offline, rel=1e-4))
    assert found["server"] == ("completed_samples_per_s", pytest.approx(server, rel=1e-4))


def test_counts() -> None:
    counts = {}
    for name in PERFORMANCE:
        result = parse_detail(LOADGEN_LOGS / name / "mlperf_log_detail.txt").result
        assert result is not None
        taken = (LOADGEN_LOGS / name / "samples.i64").stat().st_size // 8
        counts[name] = (result.query_count, result.sample_count)
        assert result.sample_count == taken
    assert counts["offline_performance"][0] == 1
    queries, samples = counts["multistream_performance"]
    assert samples == 8 * queries


def test_an_invalid_run_says_why() -> None:
    result = parse_detail(LOADGEN_LOGS / "singlestream_invalid" / "mlperf_log_detail.txt").result
    assert result is not None
    assert result.validity == "INVALID"
    assert result.failed_checks == ("minimum duration not reached",)
    assert "Decrease the expected latency" in result.reasons[0]


def test_an_accuracy_log_has_no_result() -> None:
    log = parse_detail(LOADGEN_LOGS / "singlestream_accuracy" / "mlperf_log_detail.txt")
    assert log.result is None
    assert log.query_count == 1000
    assert log.settings.mode == "AccuracyOnly"


def test_the_start_is_utc_whatever_zone_the_device_is_in() -> None:
    path = LOADGEN_LOGS / "server_performance" / "mlperf_log_detail.txt"
    log = parse_detail(path)
    local = re.search(r'"test_datetime", "value": "([^"]+)"', path.read_text())
    assert local
    assert log.started_unix_ns is not None
    started = iso(log.started_unix_ns)
    # Tokyo is nine hours ahead, and LoadGen calls it Z all the same.
    assert local[1][:10] > started[:10]
    assert local[1][13:16] == started[13:16]


@pytest.mark.parametrize("name", RUNS)
def test_summary_verdict(name: str) -> None:
    output = read_summary(LOADGEN_LOGS / name / "mlperf_log_summary.txt").validity
    if "accuracy" in name:
        assert output is None
    else:
        assert output == ("INVALID" if "invalid" in name else "VALID")


def test_the_loadgen_of_v5_1_does_not_say_how_many_samples_accuracy_takes(tmp_path: Path) -> None:
    path = LOADGEN_LOGS / "singlestream_performance" / "mlperf_log_detail.txt"
    lines = [
        line for line in path.read_text().splitlines(True) if "accuracy_sample_count" not in line
    ]
    (tmp_path / "detail.txt").write_text("".join(lines))
    assert parse_detail(tmp_path / "detail.txt").settings.accuracy_sample_count == 1000


@pytest.mark.parametrize(
    ("setting", "issued"), [(True, 2000), (None, 2000), (None, 1500), (False, 1500)]
)
def test_a_query_of_whole_permutations_is_padded(
    tmp_path: Path, setting: bool | None, issued: int
) -> None:
    """LoadGen logs 1,500 samples and issues 2,000: the whole performance set of 1,000, twice.

    Some builds of v4.1 do not log the setting.
    """
    folder = cases.copy("offline_performance", tmp_path)
    path = folder / "mlperf_log_detail.txt"
    before = parse_detail(path).result
    assert before is not None
    rate = issued * 1e9 / before.latency.max_ns

    def change(entry: dict[str, Any]) -> None:
        if entry["key"] in ("generated_samples_per_query", "effective_samples_per_query"):
            entry["value"] = 1500
        elif entry["key"] == "effective_sample_concatenate_permutation":
            entry["value"] = setting
            entry["key"] = entry["key"] if setting is not None else "unknown"
        elif entry["key"] == "result_samples_per_second":
            entry["value"] = rate

    cases.edit_log(folder, change)
    log = parse_detail(path)
    assert log.result is not None and log.result.sample_count == issued
    assert list(consistency.official_figures(log, log.result)) == []


def test_an_accuracy_run_in_parts_has_an_interval_for_each(tmp_path: Path) -> None:
    """A data set that is larger than the performance set is gone through in parts."""
    path = LOADGEN_LOGS / "singlestream_accuracy" / "mlperf_log_detail.txt"
    lines = path.read_text().splitlines(True)
    again = [line for line in lines if '"key": "power_' in line]
    assert len(again) == 2
    later = "".join(again).replace("11-23-2026", "11-24-2026")
    (tmp_path / "detail.txt").write_text("".join(lines) + later)
    log = parse_detail(tmp_path / "detail.txt")
    assert not log.contradictions
    assert log.started_unix_ns == parse_detail(path).started_unix_ns
    # In a performance run there is one interval.
    path = LOADGEN_LOGS / "singlestream_performance" / "mlperf_log_detail.txt"
    text = path.read_text()
    again = [line for line in text.splitlines(True) if '"key": "power_' in line]
    (tmp_path / "detail.txt").write_text(text + "".join(again).replace("11-23-2026", "11-24-2026"))
    assert len(parse_detail(tmp_path / "detail.txt").contradictions) == 2
