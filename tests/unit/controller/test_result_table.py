"""Columns of `results list`: what differs is shown, what is the same is said once."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_cli.tables import GAP
from fleetmark_controller.cli.result_table import arrange, result_fields, run_fields


def row(**changes: Any) -> dict[str, Any]:
    return {
        "device": "device-1",
        "benchmark": "fashion-mnist",
        "model": "fashion-mnist-dscnn",
        "precision": "int8",
        "runtime": "onnxruntime",
        "runtime_version": "1.28.0",
        "scenario": "SingleStream",
        "parameters": json.dumps({"threads": 1, "min_duration_s": 2.5}),
        "repetition": 1,
        "metric_name": "early_stopping_latency_p90_ms",
        "metric_value": 0.1043,
        "latency_p50_ms": 0.098,
        "latency_p99_ms": 0.19,
        "accuracy": 0.937,
        "peak_memory_bytes": 117_200_000,
        "loadgen_validity": "VALID",
        "condition": "good",
        "campaign_id": "01a20a35-3cdd-70c9-8062-478c597f098e",
        "run_id": "01a20a35-3cdd-70c9-8062-00000000aaaa",
        "mode": "performance",
        "started_at": "2026-01-01T00:00:00Z",
        **changes,
    }


def threads(number: int, **changes: Any) -> dict[str, Any]:
    return row(parameters=json.dumps({"threads": number, "min_duration_s": 2.5}), **changes)


@pytest.mark.parametrize("width", [None, 200, 80])
def test_parameters_that_differ_and_memory_are_shown(width: int | None) -> None:
    table = arrange(result_fields([threads(1), threads(2, peak_memory_bytes=9e6)]), width)
    parameters = table.headings.index("parameters")
    assert [cells[parameters] for cells in table.rows] == ["threads=1", "threads=2"]
    memory = table.headings.index("memory")
    assert [cells[memory] for cells in table.rows] == ["117.2 MB", "9.0 MB"]


def test_metrics_other_than_top_1_are_named() -> None:
    rows = [
        threads(n, accuracy=0.5 if metric else None, accuracy_metric=metric)
        for n, metric in enumerate(("top-1", "top-5", "mae", None), 1)
    ]
    for fields in (result_fields, run_fields):
        table = arrange(fields(rows), None)
        place = table.headings.index("accuracy")
        assert [cells[place] for cells in table.rows] == [0.5, "0.5 top-5", "0.5 mae", None]


def test_what_is_the_same_in_all_rows_is_output_once_at_80_columns() -> None:
    table = arrange(result_fields([threads(1), threads(2, loadgen_validity="INVALID")]), 80)
    (note, *_) = table.notes
    assert note.startswith("The same in all rows: benchmark fashion-mnist, ")
    for output in ("precision int8", "runtime onnxruntime", "other parameters min_duration_s=2.5"):
        assert output in note
    assert "LoadGen" in table.headings and "official" in table.headings
    assert (
        sum(max(map(len, map(str, c))) + GAP for c in zip(table.headings, *table.rows, strict=True))
        <= 80
    )


def test_device_and_validity_stay_at_80_columns_where_they_differ() -> None:
    rows = [
        row(
            device=f"device-{n}",
            precision=precision,
            runtime=runtime,
            scenario=scenario,
            parameters=json.dumps({"threads": count}),
            loadgen_validity="VALID" if n == 1 else "INVALID",
            metric_value=0.1 * n,
            peak_memory_bytes=n * 1e8,
        )
        for n, precision, runtime, scenario, count in product(
            (1, 2),
            ("int8", "fp32"),
            ("onnxruntime", "ai-edge-litert"),
            ("SingleStream", "Offline"),
            (1, 2),
        )
    ]
    table = arrange(result_fields(rows), 80)
    assert table.headings[:2] == ("device", "configuration")
    assert {"official", "memory", "LoadGen"} <= set(table.headings)
    assert table.rows[0][1] == "int8 onnxruntime SingleStream threads=1"
    assert len({cells[:2] for cells in table.rows}) == len(rows), "no two rows look alike"
    wide = arrange(result_fields(rows), 300)
    assert {"precision", "runtime", "scenario", "parameters", "p99 ms"} <= set(wide.headings)
    assert not wide.notes


def test_versions_of_one_runtime_are_reported_apart() -> None:
    table = arrange(result_fields([row(), row(runtime_version="1.32.0")]), 80)
    runtime = table.headings.index("runtime")
    assert [cells[runtime] for cells in table.rows] == ["onnxruntime 1.28.0", "onnxruntime 1.32.0"]


def test_an_accelerator_is_shown_only_where_it_distinguishes_configurations() -> None:
    follows = [row(accelerator="CPU"), row(runtime="ai-edge-litert", accelerator="XNNPACK")]
    assert "accelerator" not in arrange(result_fields(follows), None).headings
    differs = [row(accelerator="CPU"), row(accelerator="CUDA")]
    table = arrange(result_fields(differs), 80)
    assert [cells[table.headings.index("accelerator")] for cells in table.rows] == ["CPU", "CUDA"]


def test_what_no_row_has_takes_no_room() -> None:
    rows = [row(accuracy=None, parameters="{}"), row(accuracy=None, parameters="{}", device="b")]
    table = arrange(result_fields(rows), 300)
    assert not {"accuracy", "parameters"} & set(table.headings)
    assert not any("accuracy" in note for note in table.notes)


def test_runs_have_short_ids() -> None:
    second = "01a20a35-3cdd-70c9-8062-00000000bbbb"
    table = arrange(run_fields([row(), row(run_id=second)]), 80)
    assert [cells[0] for cells in table.rows] == ["0000aaaa", "0000bbbb"]


def test_a_pipe_gets_every_column() -> None:
    table = arrange(result_fields([row()]), None)
    assert not table.notes
    assert {"device", "model", "parameters", "memory", "LoadGen", "condition", "campaign"} <= set(
        table.headings
    )


VALUES: dict[str, list[Any]] = {
    "device": ["device-1", "a-device-with-a-long-name"],
    "model": ["a", "b", None],
    "runtime": ["onnxruntime", "ai-edge-litert"],
    "parameters": ['{"threads": 1}', '{"threads": 2}', "{}", None, "no json"],
    "scenario": ["SingleStream", "Offline"],
    "loadgen_validity": ["VALID", "INVALID", None],
    "peak_memory_bytes": [1, 10**9, None],
    "metric_value": [0.5, 12345.0, None],
}


@given(
    st.lists(st.fixed_dictionaries({k: st.sampled_from(v) for k, v in VALUES.items()}), min_size=1),
    st.one_of(st.none(), st.integers(80, 300)),
)
def test_nothing_that_differs_gets_lost(rows: list[dict[str, Any]], width: int | None) -> None:
    """Whatever the width, rows that differ in a name, validity, memory or figure look different."""
    table = arrange(result_fields([row(**changes) for changes in rows]), width)
    assert len(table.rows) == len(rows)
    nothing = {"no json": "{}", None: "{}"}
    by_cells: dict[tuple[object, ...], set[tuple[object, ...]]] = {}
    for changes, cells in zip(rows, table.rows, strict=True):
        parameters = nothing.get(changes["parameters"], changes["parameters"])
        facts = tuple(sorted((k, str(v)) for k, v in {**changes, "parameters": parameters}.items()))
        by_cells.setdefault(cells, set()).add(facts)
    assert all(len(found) == 1 for found in by_cells.values())
