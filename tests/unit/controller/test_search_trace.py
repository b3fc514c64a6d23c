"""The trace of a search: accepted only as far as the stored log confirms it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.evaluation.evaluate import evaluate
from fleetmark_controller.evaluation.run_facts import RunFacts
from fleetmark_controller.evaluation.search_trace import UNITS, read_search
from fleetmark_controller.loadgen.errors import IngestError
from fleetmark_controller.loadgen.loadgen_log import parse_detail
from tests.support import LOADGEN_LOGS
from tests.support.evaluation_cases import SCENARIOS, copy, inputs

NAMES = {scenario: f"{name}_performance" for name, scenario in SCENARIOS.items()}


def trace(scenario: str, **changes: Any) -> dict[str, Any]:
    """The search whose kept test is the genuine run of that scenario, with one test before it."""
    log = parse_detail(LOADGEN_LOGS / NAMES[scenario] / "mlperf_log_detail.txt")
    assert log.result is not None
    latency = log.result.query_latency or log.result.latency
    measured = {"Offline": log.result.metric_value, "Server": log.result.metric_value}.get(
        scenario, latency.mean_ns / 1e6
    )
    assert measured is not None
    target = log.settings.target_qps if scenario == "Server" else measured * 1.01
    run = {
        "target": target,
        "measured": measured,
        "samples": log.result.sample_count,
        "percentile_ms": 1.0,
        "duration_ms": 300,
        "valid": True,
        "why": "",
    }
    bad = {**run, "valid": False, "why": "latency constraint not met"}
    return {
        "format": 1,
        "unit": UNITS[scenario],
        "found": target if scenario == "Server" else measured,
        "latency_limit_ms": 15.0 if scenario == "Server" else None,
        "kept": 2,
        "runs": [bad, run],
        **changes,
    }


def facts(tmp_path: Path, scenario: str, search: Any) -> RunFacts:
    folder = copy(NAMES[scenario], tmp_path)
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**result, "search": search}))
    order = {"scenario": scenario, "mode": "find-performance", "profile": "valid"}
    return evaluate(inputs(folder, NAMES[scenario], order=order))


@pytest.mark.parametrize("scenario", NAMES)
def test_a_search_that_its_kept_log_shows(tmp_path: Path, scenario: str) -> None:
    wanted = trace(scenario)
    found = facts(tmp_path, scenario, wanted)
    assert not found.problems and found.loadgen_validity == "VALID"
    assert found.search_trace is not None
    assert found.search_trace["found"] == wanted["found"]
    assert [run["valid"] for run in found.search_trace["runs"]] == [False, True]
    # However long it was: a search is no result of MLPerf's.
    assert not found.submittable


LIES: dict[str, Any] = {
    "another rate": lambda reported: {**reported, "found": reported["found"] * 2},
    "a rate of another test": lambda reported: {**reported, "kept": 1},
    "nothing, and the log is valid": lambda reported: {**reported, "found": None},
    "a higher rate throughout": lambda reported: {
        **reported,
        "found": reported["found"] * 2,
        "runs": [
            {**run, "target": run["target"] * 2, "measured": run["measured"] * 2}
            for run in reported["runs"]
        ],
    },
    "another unit": lambda reported: {**reported, "unit": "furlongs"},
    "no test": lambda reported: {**reported, "runs": []},
    "too many tests": lambda reported: {**reported, "runs": reported["runs"] * 40},
    "a place that is not there": lambda reported: {**reported, "kept": 3},
    "no number": lambda reported: {
        **reported,
        "runs": [{**reported["runs"][0], "samples": "many"}] * 2,
    },
    "not a valid number": lambda reported: {**reported, "latency_limit_ms": float("nan")},
    "no verdict": lambda reported: {
        **reported,
        "runs": [{**reported["runs"][0], "valid": "yes"}] * 2,
    },
    "no table": lambda reported: [reported],
    "none at all": lambda reported: None,
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("scenario", ["Server", "Offline", "MultiStream"])
def test_a_search_that_it_does_not_show(tmp_path: Path, scenario: str, lie: str) -> None:
    found = facts(tmp_path, scenario, LIES[lie](trace(scenario)))
    assert found.search_trace is None
    assert found.loadgen_validity == "INVALID"
    assert "search" in found.problems[0]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)
LOG = parse_detail(LOADGEN_LOGS / NAMES["Server"] / "mlperf_log_detail.txt")


@given(st.fixed_dictionaries({}, optional={name: JSON for name in trace("Server")}) | JSON)
def test_no_claim_breaks_it(claim: Any) -> None:
    reported = {**trace("Server"), **claim} if isinstance(claim, dict) else claim
    try:
        json.dumps(read_search(reported, "Server", LOG))
    except IngestError as error:
        assert error.what
