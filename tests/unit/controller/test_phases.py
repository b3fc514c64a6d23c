"""The phases before the measurement and the memory after loading: plausible figures, or none."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.cli.run_summary import SUMMARIZED, phase_lines
from fleetmark_controller.evaluation.evaluate import evaluate
from fleetmark_controller.evaluation.phases import read_phases
from fleetmark_controller.evaluation.run_facts import RunFacts
from tests.support.evaluation_cases import codes, copy, inputs

NAME = "singlestream_performance"
CLAIM: dict[str, Any] = {
    "phases": {
        "load_ns": 12_000_000,
        "first_inference_ns": 3_000_000,
        "warmup_ns": 200_000_000,
        "steady_state_ns": 1_500_000,
    },
    "load_memory_bytes": 40_000_000,
}
FIGURES = ("load_ms", "first_inference_ms", "warmup_ms", "steady_state_ms", "load_memory_bytes")
FINAL = {
    "outcome": "completed",
    "started_unix_ns": 1,
    "duration_ns": 5_000_000_000,
    "provenance": {},
}
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


def facts_of(tmp_path: Path, claim: dict[str, Any], name: str = NAME, **changes: Any) -> RunFacts:
    folder = copy(name, tmp_path)
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**result, **claim}))
    return evaluate(inputs(folder, name, **{"final": FINAL, **changes}))


@pytest.mark.parametrize("name", [NAME, "singlestream_accuracy"])
def test_they_are_stored_in_all_modes(tmp_path: Path, name: str) -> None:
    facts = facts_of(tmp_path, CLAIM, name)
    assert [getattr(facts, figure) for figure in FIGURES] == [12.0, 3.0, 200.0, 1.5, 40_000_000]
    assert facts.peak_memory_bytes is not None and facts.peak_memory_bytes >= 40_000_000
    assert "refused_figures" not in codes(facts)


def test_runs_of_older_harnesses_have_none(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, {})
    assert [getattr(facts, figure) for figure in FIGURES] == [None] * 5
    assert "refused_figures" not in codes(facts)
    lines = list(phase_lines(vars(facts)))
    assert lines[0] == (
        "Phases     load unavailable, first inference unavailable, warm-up unavailable, "
        "steady state unavailable"
    )
    assert lines[1].startswith("Memory     after loading unavailable, at most ")


@pytest.mark.parametrize(
    ("key", "value", "column"),
    [
        ("load_ns", 6_000_000_000, "load_ms"),
        ("warmup_ns", -1, "warmup_ms"),
        ("steady_state_ns", True, "steady_state_ms"),
        ("steady_state_ns", 1.5, "steady_state_ms"),
        ("first_inference_ns", 200_000_001, "first_inference_ms"),
    ],
)
def test_an_impossible_phase_is_dropped_and_named(
    tmp_path: Path, key: str, value: Any, column: str
) -> None:
    facts = facts_of(tmp_path, {**CLAIM, "phases": {**CLAIM["phases"], key: value}})
    assert getattr(facts, column) is None
    assert "refused_figures" in codes(facts)
    assert facts.load_memory_bytes == 40_000_000


def test_memory_after_loading_cannot_exceed_the_peak(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, {**CLAIM, "load_memory_bytes": 1 << 45})
    assert facts.load_memory_bytes is None
    assert "refused_figures" in codes(facts)


def test_memory_of_the_profile_is_not_memory_of_the_run(tmp_path: Path) -> None:
    start = 3_000_000_000
    telemetry = (
        ("elapsed_ms", "memory_bytes"),
        [[n * 500, 700_000_000 if n > 8 else 70_000_000] for n in range(12)],
    )
    changes = {
        "telemetry": telemetry,
        "order": {
            "scenario": "SingleStream",
            "mode": "performance",
            "profile": "quick",
            "parameters": {"profile_ops": True},
        },
    }
    claim = {**CLAIM, "operators": {"start_unix_ns": start, "unavailable": "no profiler"}}
    facts = facts_of(tmp_path / "profiled", claim, **changes)
    assert facts.peak_memory_bytes is not None and facts.peak_memory_bytes < 100_000_000
    assert facts.operators == {"unavailable": "no profiler"}
    # A job that was not asked for a profile cannot hide its memory behind one.
    plain = facts_of(tmp_path / "plain", claim, telemetry=telemetry)
    assert plain.peak_memory_bytes == 700_000_000
    assert plain.operators is None


def test_they_are_shown_with_their_units() -> None:
    figures = {
        "load_ms": 12.0,
        "first_inference_ms": 3.0,
        "warmup_ms": 200.0,
        "steady_state_ms": 1.5,
        "load_memory_bytes": 40_000_000,
        "peak_memory_bytes": 60_000_000,
    }
    assert list(phase_lines(figures)) == [
        "Phases     load 12 ms, first inference 3 ms, warm-up 200 ms, steady state 1.5 ms per call",
        "Memory     after loading 40.0 MB, at most 60.0 MB",
    ]
    assert set(figures) <= SUMMARIZED


@pytest.mark.fuzz("a program's own phases (result.json)")
@given(ANY, ANY, st.floats(0, 1e19), st.none() | st.floats(0, 1e15))
def test_any_claim_gives_plausible_figures(
    phases: Any, memory: Any, duration_ns: float, peak: float | None
) -> None:
    claim = {"phases": phases, "load_memory_bytes": memory}
    if isinstance(phases, dict):
        claim["phases"] = {**phases, "load_ns": memory}
    found = read_phases(claim, duration_ns, peak)
    assert set(found.columns) == set(FIGURES)
    for name, value in found.columns.items():
        if value is None:
            continue
        assert math.isfinite(value) and value > 0
        most = peak if name == "load_memory_bytes" else duration_ns / 1e6
        assert most is not None and value <= most
    assert all(text.isprintable() and len(text) < 200 for text in found.dropped)
