"""The two verdicts and the energy in `results show`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.cli import run_summary
from fleetmark_controller.cli.meter_summary import meter_lines
from fleetmark_controller.evaluation import condition
from fleetmark_controller.export.columns import VIEWS


def shown(provenance: dict[str, Any] | None = None, **figures: Any) -> list[str]:
    values = {
        "loadgen_validity": "VALID",
        "condition": "good",
        "condition_reasons": "[]",
        **figures,
    }
    return list(run_summary.lines(values, provenance or {}))


def test_a_run_with_which_nothing_is_the_matter() -> None:
    assert shown() == [
        "LoadGen    VALID",
        "Condition  good: no reason to doubt the figures",
        "Energy     unavailable",
    ]


def test_columns_are_reported_once() -> None:
    assert set(VIEWS["runs"]) >= run_summary.SUMMARIZED


@pytest.mark.parametrize(
    ("scenario", "used", "expected"),
    [
        ("Offline", 8, ["Batch      8 samples per call, where the parameter is 32"]),
        ("Offline", 32, []),
        ("SingleStream", 1, []),
        ("Offline", "8", []),
    ],
)
def test_another_batch_than_that_of_the_parameter_is_shown(
    scenario: str, used: object, expected: list[str]
) -> None:
    result = {"calibration": {"batch_size": used}, "parameters": {"batch_size": 32}}
    lines = shown({"program_result": result}, scenario=scenario)
    assert [line for line in lines if line.startswith("Batch")] == expected


@pytest.mark.parametrize("code", condition.CODES)
def test_every_reason_is_named_with_its_figures(code: str) -> None:
    reasons = json.dumps([condition.reason(code, "because of it", 95.25, 20.0)])
    lines = shown(condition="suspicious", condition_reasons=reasons)
    assert lines[1:3] == [
        "Condition  suspicious",
        f"           - {code}: because of it (95.25, limit 20)",
    ]


def test_everything_else() -> None:
    provenance = {
        "problems": ["LoadGen did not finish"],
        "telemetry": {"unavailable": {"throttled": "no firmware", "load": "never said"}},
        "stable": {
            "waited_s": 12.4,
            "began_because": "it is cool enough",
            "governor": "performance",
            "governor_before": "powersave",
            "cores": [2, 3],
            "cores_because": "4 threads, 2 cores: the agent may use no others",
            "core_kinds": [{"kind": None, "cores": [2, 3]}],
            "not_set": ["governor: policy4 may only be changed by root"],
        },
    }
    lines = shown(
        provenance,
        loadgen_validity="INVALID",
        condition="unchecked",
        interval_percent=3.21,
        repeat_interval_percent=1.04,
        energy_j=12.34567,
        power_mean_w=6.1728,
        energy_per_query_j=0.0012345,
        energy_per_sample_j=None,
        energy_source="ina3221 VDD_IN (board)",
        energy_official=0,
    )
    assert lines == [
        "LoadGen    INVALID",
        "           - LoadGen did not finish",
        "Condition  unchecked: other load on the device was not recorded",
        "           - not recorded: throttling (no firmware)",
        "Stable     began after 12 s: it is cool enough; governor performance instead of powersave;"
        " on cores 2, 3 (4 threads, 2 cores: the agent may use no others)",
        "           - not set: governor: policy4 may only be changed by root",
        "Interval   95 % of the official figure: ± 3.2 % within the run, ± 1.0 % over its"
        " repetitions",
        "Energy     12.35 J, 6.173 W, 0.001234 J per query",
        "           - unofficial, by ina3221 VDD_IN (board)",
    ]
    lines = shown(energy_j=1.0, energy_official=1, energy_source="PTDaemon (board)")
    assert lines[-1] == "           - official, by PTDaemon (board)"
    lines = shown(energy_unavailable="rapl package-0: only root may read it")
    assert lines[-1] == "Energy     unavailable: rapl package-0: only root may read it"
    lines = shown({"system_root": "/host"})
    assert lines[2] == "           - system files of the device were read below /host"
    assert shown({"system_root": "/"}) == shown()
    assert shown(loadgen_validity=None)[0] == "LoadGen    gives no verdict in accuracy mode"


def test_settings_by_programs() -> None:
    settings = [
        {"name": "nvpmodel", "target": "", "before": "15W", "set": "MAXN"},
        {"name": "governor", "target": "policy0", "before": "schedutil", "set": "performance"},
        {"name": "gpu_clocks", "target": "GPU-1", "before": "unlocked", "set": "2520 MHz"},
        {"name": "gpu_clocks", "target": "GPU-2", "before": "unlocked", "set": "2520 MHz"},
        "nonsense",
    ]
    assert shown({"stable": {"settings": settings}})[2] == (
        "Stable     nvpmodel MAXN instead of 15W; gpu_clocks 2520 MHz instead of unlocked"
    )


def test_cores_by_kind() -> None:
    stable = {
        "cores": [3, 6, 7],
        "cores_because": "3 threads: the fastest kind has fewer physical cores",
        "core_kinds": [
            {"kind": "Cortex-A76", "cores": [6, 7]},
            {"kind": "Cortex-A55", "cores": [3]},
        ],
    }
    assert shown({"stable": stable})[2] == (
        "Stable     on cores 6, 7 of Cortex-A76 and 3 of Cortex-A55"
        " (3 threads: the fastest kind has fewer physical cores)"
    )
    assert shown({"stable": {"cores": [1]}})[2] == "Stable     on cores 1", "of an older agent"


def test_sensors_that_were_left_out() -> None:
    left_out = {f"sensor {n}": "it is a disk" for n in range(7)}
    lines = shown({"temperatures": {"left_out": left_out}})
    assert lines[2] == "           - temperature sensor sensor 0 left out: it is a disk"
    assert lines[7] == "           - 2 more temperature sensors left out"


NONSENSE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(sorted(run_summary.SUMMARIZED)), NONSENSE),
    st.dictionaries(st.sampled_from(("problems", "telemetry", "stable", "temperatures")), NONSENSE),
)
def test_whatever_a_device_output_lines_are_printed(
    figures: dict[str, Any], provenance: dict[str, Any]
) -> None:
    assert list(run_summary.lines(figures, provenance))


METER = {
    **{"alignment": "marker", "alignment_j": 0.1, "sampling_j": 0.2, "meter_j": 0.3},
    **{"uncertainty_j": 0.6, "offset_s": 1.5, "offset_uncertainty_s": 0.25, "peak_w": 7.5},
    **{"longest_gap_s": 0.01, "idle_w": 2.0, "energy_above_idle_j": 30.0},
    "before": {"energy_j": 48.0, "energy_source": "ina3221 (board)"},
}


def test_an_external_meter_and_what_the_device_measured() -> None:
    figures = {
        **{"energy_j": 50.0, "power_mean_w": 5.0, "energy_uncertainty_j": 0.6},
        **{"energy_official": 0, "energy_source": "external: Monsoon HVPM (board)"},
    }
    lines = shown(**figures, energy_meter=json.dumps(METER))
    place = lines.index("Energy     50 J ± 0.6 J, 5 W")
    assert lines[place + 1 : place + 7] == [
        "           - unofficial, by external: Monsoon HVPM (board)",
        "           - uncertainty ± 0.6 J: 0.1 J by the alignment + 0.2 J by the sampling"
        " (estimate) + 0.3 J by the meter",
        "           - clocks aligned by marker: meter minus device 1.500 ± 0.25 s",
        "           - peak 7.5 W; longest time without a reading 0.01 s",
        "           - idle 2 W; 30 J above the idle power",
        "           - the device measured 48 J, by ina3221 (board)",
    ]


def test_an_external_meter_whose_accuracy_is_unknown() -> None:
    meter = {**METER, "meter_j": None, "uncertainty_j": None, "idle_w": None, "before": None}
    meter["uncertainty_unavailable"] = "the meter's accuracy is unknown (--meter-accuracy)"
    (uncertainty, *others) = meter_lines(meter)
    assert uncertainty.startswith("uncertainty unknown: the meter's accuracy is unknown (")
    assert "known parts: 0.1 J by the alignment" in uncertainty
    assert not any("idle" in line or "the device" in line for line in others)


@given(NONSENSE)
def test_whatever_the_document_of_a_meter_is(document: Any) -> None:
    figures = {"energy_j": 1.0, "energy_meter": json.dumps(document)}
    assert list(run_summary.lines(figures, {}))
