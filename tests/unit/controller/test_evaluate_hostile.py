"""Hostile files: a clear refusal, never a traceback, never an absurd figure."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetmark_controller.evaluation.accuracy import load_labels
from fleetmark_controller.evaluation.evaluate import evaluate
from fleetmark_controller.evaluation.run_facts import RunFacts, RunInputs
from fleetmark_controller.loadgen import limits
from fleetmark_controller.loadgen.accuracy_log import parse_accuracy
from fleetmark_controller.loadgen.errors import IngestError
from fleetmark_controller.loadgen.loadgen_log import parse_detail
from fleetmark_controller.loadgen.summary import read_summary
from tests.support import evaluation_cases as cases
from tests.support.examples import examples

GENUINE = (cases.LOADGEN_LOGS / "singlestream_performance" / "mlperf_log_detail.txt").read_text()
LINES = GENUINE.splitlines()
KEYS = sorted({json.loads(line[8:])["key"] for line in LINES})
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([10**400, -1, 1 << 64, 1e308, "VALID", "\0", "\ud800", "11-23-2026 1:2:3.4"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
relaxed = settings(
    max_examples=max(examples(150), settings.default.max_examples),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@contextmanager
def file_of(content: bytes, name: str = "mlperf_log_detail.txt") -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        yield path


def sane(facts: RunFacts) -> None:
    """Whatever came in, these hold for what goes into the store."""
    for name, value in vars(facts).items():
        if isinstance(value, float):
            assert math.isfinite(value), name
            assert value >= 0 or name == "temperature_max_c", name
        if isinstance(value, int):
            assert 0 <= value < 1 << 63, name
    assert facts.loadgen_validity in ("VALID", "INVALID", None)
    assert facts.condition in ("good", "suspicious", "unchecked")
    json.dumps(facts.condition_reasons, allow_nan=False)
    for text in [*facts.problems, *(reason["text"] for reason in facts.condition_reasons)]:
        assert len(text) < 2000
        assert "Traceback" not in text
        assert text.isprintable()
        text.encode()


def evaluate_file(path: Path, **changes: Any) -> RunFacts:
    files = {**cases.files(cases.LOADGEN_LOGS / "singlestream_performance"), "loadgen_detail": path}
    job = cases.inputs(path.parent, "singlestream_performance", **{"files": files, **changes})
    facts = evaluate(job)
    sane(facts)
    return facts


@pytest.mark.fuzz("LoadGen's detail and summary logs")
@relaxed
@given(st.binary(max_size=2000))
def test_any_bytes_as_a_file(content: bytes) -> None:
    for read in (parse_detail, parse_accuracy, load_labels):
        with file_of(content) as path, pytest.raises(IngestError):
            read(path)
    with file_of(content) as path:
        assert read_summary(path).validity in ("VALID", "INVALID", None)
        assert evaluate_file(path).loadgen_validity == "INVALID"


@pytest.mark.fuzz("LoadGen's detail and summary logs")
@relaxed
@given(st.dictionaries(st.sampled_from(KEYS), JSON, min_size=1, max_size=4))
def test_any_values_in_a_genuine_log(values: dict[str, Any]) -> None:
    lines = []
    for line in LINES:
        entry = json.loads(line[8:])
        if entry["key"] in values:
            entry["value"] = values[entry["key"]]
        lines.append(f":::MLLOG {json.dumps(entry)}")
    with file_of("\n".join(lines).encode()) as path:
        evaluate_file(path)


@pytest.mark.fuzz("LoadGen's detail and summary logs")
@relaxed
@given(st.lists(JSON, max_size=6), st.binary(max_size=50))
def test_any_json_as_lines(values: list[Any], tail: bytes) -> None:
    text = "\n".join(f":::MLLOG {json.dumps(value)}" for value in values)
    with file_of(text.encode() + b"\n:::MLLOG " + tail) as path:
        evaluate_file(path)


@pytest.mark.fuzz("LoadGen's detail and summary logs")
@relaxed
@given(st.integers(0, len(GENUINE)), st.binary(max_size=30))
def test_a_log_cut_off_or_spliced_anywhere(place: int, splice: bytes) -> None:
    content = GENUINE.encode()
    with file_of(content[:place]) as path:
        evaluate_file(path)
    with file_of(content[:place] + splice + content[place:]) as path:
        evaluate_file(path)


@pytest.mark.fuzz("a program's own claim (result.json)")
@relaxed
@given(
    st.dictionaries(st.sampled_from(["job", "inputs", "benchmark"]), JSON, max_size=2),
    st.dictionaries(st.sampled_from(["scenario", "mode", "profile"]), JSON, max_size=3),
    st.dictionaries(st.sampled_from(["started_unix_ns", "provenance"]), JSON, max_size=2),
    st.lists(st.sampled_from(["elapsed_ms", "temperature_c", "load", "x"]), max_size=4),
    st.lists(st.lists(JSON, max_size=4), max_size=4),
    JSON,
)
def test_any_records_and_claims(
    lock: dict[str, Any],
    order: dict[str, Any],
    final: dict[str, Any],
    columns: list[str],
    rows: list[list[Any]],
    claim: Any,
) -> None:
    with file_of(json.dumps(claim).encode(), "result.json") as result:
        for name in ("singlestream_performance", "singlestream_accuracy"):
            files = {**cases.files(cases.LOADGEN_LOGS / name), "result": result}
            facts = evaluate(RunInputs(lock, order, final, files, (columns, rows), cases.LABELS))
            sane(facts)


def test_a_line_that_never_ends() -> None:
    line = b':::MLLOG {"key": "' + b"a" * (limits.MAX_LINE_BYTES + 10)
    with file_of(GENUINE.encode() + line) as path:
        assert parse_detail(path).bad_lines == 1


def test_too_large_files_are_not_read(tmp_path: Path) -> None:
    for name, read, most in (
        ("detail", parse_detail, limits.MAX_DETAIL_BYTES),
        ("accuracy", parse_accuracy, limits.MAX_ACCURACY_BYTES),
        ("summary", read_summary, limits.MAX_SUMMARY_BYTES),
    ):
        path = tmp_path / name
        with path.open("wb") as file:
            file.truncate(most + 1)
        with pytest.raises(IngestError, match="larger than"):
            read(path)


def test_a_folder_or_nothing_in_place_of_a_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        for read in (parse_detail, parse_accuracy, load_labels, read_summary):
            with pytest.raises(IngestError, match="cannot be read"):
                read(path)


@pytest.mark.parametrize("figure", ["NaN", "Infinity", "-Infinity", "nan", "inf", "-5", "1e999"])
def test_figures_that_are_no_numbers_do_not_arrive(figure: str) -> None:
    text = GENUINE.replace(
        '"result_mean_latency_ns", "value": ', f'"result_mean_latency_ns", "value": {figure}, "x": '
    )
    with file_of(text.encode()) as path:
        facts = evaluate_file(path)
    assert facts.latency_mean_ms is None
    assert facts.loadgen_validity == "INVALID"
    assert "result_mean_latency_ns" in facts.problems[0]


def test_latencies_out_of_order() -> None:
    text = GENUINE.replace(
        '"result_min_latency_ns", "value": ', '"result_min_latency_ns", "value": 9'
    )
    with file_of(text.encode()) as path:
        assert "out of order" in evaluate_file(path).problems[0]


def test_a_start_beyond_every_clock_is_no_start() -> None:
    path = cases.LOADGEN_LOGS / "singlestream_performance" / "mlperf_log_detail.txt"
    evaluate_file(path, final={"started_unix_ns": 10**400})
