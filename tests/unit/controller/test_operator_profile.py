"""The per-operator profile: a device's trace is summed up, or refused with a reason."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.cli import operator_table
from fleetmark_controller.evaluation import operator_profile
from fleetmark_controller.evaluation.evaluate import evaluate
from fleetmark_controller.evaluation.operator_profile import MAX_TRACE_BYTES, read_profile
from fleetmark_controller.evaluation.run_facts import RunFacts
from fleetmark_controller.loadgen.errors import IngestError
from tests.support.evaluation_cases import codes, copy, inputs

NAME = "offline_performance"
ORDER = {
    "scenario": "Offline",
    "mode": "performance",
    "profile": "quick",
    "parameters": {"profile_ops": True},
}


def event(operator: str, duration_us: float, call: int = 0, **changes: Any) -> dict[str, Any]:
    args = {"op_name": operator, "call": call, "provider": "CPUExecutionProvider"}
    return {"name": "n", "cat": "Node", "ph": "X", "ts": 1, "dur": duration_us, "args": args} | (
        changes
    )


def trace(*events: Any, calls: Any = 2) -> bytes:
    return json.dumps({"otherData": {"calls": calls}, "traceEvents": list(events)}).encode()


GENUINE = trace(
    event("Conv", 600, 0), event("Relu", 50, 0), event("Conv", 200, 1), event("Relu", 150, 1)
)


def facts_of(tmp_path: Path, data: bytes | None, **changes: Any) -> RunFacts:
    folder = copy(NAME, tmp_path)
    job = inputs(folder, NAME, **{"order": ORDER, **changes})
    files = dict(job.files)
    if data is not None:
        path = folder / "operator_profile.json"
        path.write_bytes(data)
        files["operator_profile"] = path
    return evaluate(inputs(folder, NAME, **{"order": ORDER, **changes, "files": files}))


def test_operators_are_summed_up_the_longest_first(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, GENUINE)
    profile = facts.operators
    assert profile == {
        "calls": 2,
        "total_ms": 1.0,
        "operators": [
            {
                "operator": "Conv",
                "count": 2,
                "total_ms": 0.8,
                "share": 0.8,
                "providers": ["CPUExecutionProvider"],
            },
            {
                "operator": "Relu",
                "count": 2,
                "total_ms": 0.2,
                "share": 0.2,
                "providers": ["CPUExecutionProvider"],
            },
        ],
    }
    stored = operator_table.parse(json.dumps(profile))
    assert operator_table.rows(stored) == [
        ("Conv", 2, "0.800", "80.0 %", "CPUExecutionProvider"),
        ("Relu", 2, "0.200", "20.0 %", "CPUExecutionProvider"),
    ]
    assert operator_table.summary(stored) == (
        "2 types, 1.000 ms in 2 calls of the model, profiled after the run"
    )


def test_it_leaves_the_figures_of_the_run_as_they_are(tmp_path: Path) -> None:
    order = {**ORDER, "parameters": {}}
    plain = facts_of(tmp_path / "plain", None, order=order)
    profiled = facts_of(tmp_path / "profiled", GENUINE)
    assert plain.operators is None and profiled.operators is not None
    profiled.operators = None
    assert plain == profiled


def test_operators_that_take_no_measurable_time_have_no_share() -> None:
    found = read_profile(trace(event("Cast", 0), calls=1))
    assert found["operators"][0]["share"] is None
    assert operator_table.rows(found) == [("Cast", 1, "0.000", None, "CPUExecutionProvider")]


NO_PROFILER = "ai-edge-litert 2.1.6 offers no per-operator profile in Python"


@pytest.mark.parametrize(
    ("claim", "reason"),
    [
        ({"unavailable": NO_PROFILER}, NO_PROFILER),
        ({"unavailable": None}, "the job reported no profile"),
        ({"unavailable": ["x"]}, "the job reported no profile"),
        (None, "the job reported no profile"),
    ],
)
def test_a_run_without_a_profile_says_why(tmp_path: Path, claim: Any, reason: str) -> None:
    folder = copy(NAME, tmp_path)
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**result, "operators": claim}))
    facts = evaluate(inputs(folder, NAME, order=ORDER))
    assert facts.operators == {"unavailable": reason}
    assert operator_table.rows(facts.operators) == []
    assert operator_table.summary(facts.operators) == f"unavailable: {reason}"


def test_a_run_that_was_not_profiled_names_the_option() -> None:
    assert operator_table.parse(None) is None
    assert "--profile-ops" in operator_table.summary(None)
    assert operator_table.rows(None) == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xff", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "has no list of 1 to"),
        (b'{"traceEvents": []}', "has no list of 1 to"),
        (trace(event("Conv", 1), calls=None), "has no number of calls"),
        (trace(event("Conv", 1), calls=True), "has no number of calls"),
        (trace(event("Conv", 1), calls=0), "has no number of calls"),
        (trace(event("Conv", 1), calls=3), "has events of 1 calls, and says 3"),
        (trace(event("Conv", 1, call=2)), "has an event of call 2"),
        (trace(event("Conv", -1)), "has an impossible duration"),
        (trace(event("Conv", math.nan)), "has an impossible duration"),
        (trace(event("Conv", math.inf)), "has an impossible duration"),
        (trace(event("Conv", 1, dur="1")), "has an event without a duration"),
        (trace(event("", 1)), "has an event without an operator type"),
        (trace(event("a\x1b[31m", 1)), "has an event without an operator type"),
        (trace(event("a" * 201, 1)), "has an event without an operator type"),
        (trace(event("Conv", 1, ph="B")), "has an entry that is not a complete event"),
        (trace(event("Conv", 1, args=[])), "has an entry that is not a complete event"),
        (trace(7), "has an entry that is not a complete event"),
        (trace(*(event(f"op{n}", 1) for n in range(501))), "has more than 500 operator types"),
    ],
)
def test_a_trace_that_the_harness_would_not_write_is_refused(
    tmp_path: Path, data: bytes, reason: str
) -> None:
    with pytest.raises(IngestError, match=reason):
        read_profile(data)
    facts = facts_of(tmp_path, data)
    assert facts.operators is not None and reason in facts.operators["unavailable"]
    assert "refused_figures" in codes(facts)
    assert facts.loadgen_validity == "VALID", "the measured figures do not depend on the profile"


def test_a_large_trace_is_not_parsed(tmp_path: Path) -> None:
    with pytest.raises(IngestError, match="the limit is"):
        read_profile(b" " * (MAX_TRACE_BYTES + 1))
    facts = facts_of(tmp_path, b" " * (MAX_TRACE_BYTES + 1))
    assert facts.operators == {
        "unavailable": "the operator profile cannot be read: it is larger than 5,242,880 bytes"
    }


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)
EVENTS = st.builds(
    event,
    st.sampled_from(["Conv", "Relu", "MatMul", ""]),
    st.floats(0, 1e9) | VALUES,
    st.integers(0, 3) | VALUES,
)


@pytest.mark.fuzz("an operator profile (operator_profile.json)")
@given(st.lists(EVENTS | VALUES, max_size=8), st.integers(1, 4) | VALUES)
def test_any_trace_gives_consistent_sums_or_a_reason(events: list[Any], calls: Any) -> None:
    try:
        found = read_profile(trace(*events, calls=calls))
    except IngestError as error:
        assert error.what and len(error.what) < 300
        return
    rows = found["operators"]
    assert sum(row["count"] for row in rows) == len(events)
    assert [row["total_ms"] for row in rows] == sorted((r["total_ms"] for r in rows), reverse=True)
    assert sum(row["total_ms"] for row in rows) == pytest.approx(found["total_ms"])
    shares = [row["share"] for row in rows]
    assert shares == [None] * len(rows) or sum(shares) == pytest.approx(1)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert len(operator_table.rows(found)) == len(rows)


@pytest.mark.fuzz("damaged operator profiles")
@given(st.integers(0, len(GENUINE)), st.binary(max_size=8), st.integers(0, 20))
def test_a_damaged_trace(place: int, splice: bytes, cut: int) -> None:
    try:
        found = read_profile(GENUINE[:place] + splice + GENUINE[place + cut :])
    except IngestError:
        return
    assert found["operators"]
    assert all(math.isfinite(row["total_ms"]) for row in found["operators"])


@given(VALUES)
def test_a_reason_is_one_printable_line(reason: Any) -> None:
    text = operator_profile.unavailable(reason)["unavailable"]
    assert 0 < len(text) <= 300 and text.isprintable()
