"""CSV, JSON lines, Parquet and SQLite: the same rows, whole or not at all."""

from __future__ import annotations

import csv
import json
import math
import os
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetmark_controller.evaluation.samples import decode_parts, encode
from fleetmark_controller.export.columns import TYPES, VIEWS
from fleetmark_controller.export.rows import RowSource
from fleetmark_controller.export.samples import SampleSource
from fleetmark_controller.export.tabular import csv_cell
from fleetmark_controller.export.write import FORMATS, write, write_samples
from fleetmark_core.errors import ErrorKind, FleetmarkError
from tests.support.examples import examples
from tests.support.export_cases import Campaign, columns, source

TABLES = [name for name in FORMATS if name != "html"]
NAMES = columns("runs")
KINDS = [VIEWS["runs"][name].type for name in NAMES]
Rows = list[tuple[Any, ...]]


def typed(text: str, kind: str) -> Any:
    """A CSV cell as a value of its column; CSV alone can't tell."""
    if kind == "boolean":
        return {"true": True, "false": False}[text]
    return {"integer": int, "real": float}.get(kind, str)(text)


def read_csv(path: Path) -> tuple[list[str], Rows]:
    # The standard reader does not tell null from an empty text: there is none of the latter.
    with path.open(encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file, strict=True)
    kinds = [VIEWS["runs"][name].type for name in header]
    return header, [
        tuple(typed(cell, kind) if cell else None for cell, kind in zip(line, kinds, strict=True))
        for line in lines
    ]


def read_jsonl(path: Path) -> tuple[list[str], Rows]:
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return list(rows[0]), [tuple(row.values()) for row in rows]


def read_parquet(path: Path) -> tuple[list[str], Rows]:
    table = pq.read_table(path)
    return table.column_names, [tuple(row.values()) for row in table.to_pylist()]


def read_sqlite(path: Path) -> tuple[list[str], Rows]:
    with closing(sqlite3.connect(path)) as connection:
        cursor = connection.execute("SELECT * FROM runs")
        header = [column[0] for column in cursor.description]
        kinds = [VIEWS["runs"][name].type for name in header]
        rows = [
            tuple(
                bool(value) if kind == "boolean" and value is not None else value
                for value, kind in zip(row, kinds, strict=True)
            )
            for row in cursor
        ]
    return header, rows


READERS = {"csv": read_csv, "jsonl": read_jsonl, "parquet": read_parquet, "sqlite": read_sqlite}


def through(format: str, rows: RowSource, folder: Path) -> tuple[list[str], Rows]:
    path = folder / f"rows.{format}"
    write(format, rows, path)
    return READERS[format](path)


def test_all_formats_hold_the_same_rows_and_columns(tmp_path: Path) -> None:
    campaign = Campaign(("a", "b"))
    found = {name: through(name, source("runs", campaign.runs), tmp_path) for name in TABLES}
    header, rows = found["parquet"]
    assert header == NAMES
    assert len(rows) == len(campaign.runs) == 14
    for name in TABLES:
        assert found[name] == (header, rows), name
    first = dict(zip(header, rows[0], strict=True))
    assert first["official"] is True
    assert first["board"] is None
    assert first["metric_value"] == campaign.runs[0]["metric_value"]
    assert json.loads(first["parameters"]) == {"threads": 1}


VALUES = {
    "text": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12),
    "integer": st.integers(-(1 << 63), (1 << 63) - 1),
    "real": st.floats(allow_nan=False, allow_infinity=False),
    "boolean": st.booleans(),
}
ANY_ROW = st.tuples(*[st.none() | VALUES.get(kind, VALUES["text"]) for kind in KINDS])


@pytest.mark.fuzz("cells of CSV, JSON lines, Parquet and SQLite")
@settings(max_examples=examples(25), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(ANY_ROW, min_size=1, max_size=4))
def test_any_values_come_back(tmp_path: Path, rows: Rows) -> None:
    for name in ("jsonl", "parquet", "sqlite"):
        assert through(name, RowSource(NAMES, rows), tmp_path) == (NAMES, rows)
    header, found = through("csv", RowSource(NAMES, rows), tmp_path)
    guarded = [
        tuple(_guarded(value) if isinstance(value, str) else value for value in row) for row in rows
    ]
    assert (header, found) == (NAMES, guarded)


def _guarded(text: str) -> str | None:
    return (f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text) or None


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", '=HYPERLINK("x")'])
def test_formulas_are_quoted_in_csv(tmp_path: Path, text: str) -> None:
    write("csv", RowSource(["device", "metric_value"], [(text, -1.5)]), tmp_path / "o.csv")
    with (tmp_path / "o.csv").open(newline="") as file:
        assert list(csv.reader(file))[1] == [f"'{text}", "-1.5"]


def test_numbers_are_not_taken_for_formulas(tmp_path: Path) -> None:
    rows = RowSource(["metric_value", "query_count"], [(-0.5, -3)])
    write("csv", rows, tmp_path / "o.csv")
    assert (tmp_path / "o.csv").read_bytes() == b"metric_value,query_count\r\n-0.5,-3\r\n"


def test_csv_is_as_rfc_4180_has_it(tmp_path: Path) -> None:
    rows = RowSource(["device", "board", "os"], [('a "b"', "c,d", "e\nf"), (None, "", " g ")])
    write("csv", rows, tmp_path / "o.csv")
    assert (tmp_path / "o.csv").read_bytes() == (
        b'device,board,os\r\n"a ""b""","c,d","e\nf"\r\n,""," g "\r\n'
    )
    write("csv", RowSource(["device"], [(None,), ("x",)]), tmp_path / "one.csv")
    assert (tmp_path / "one.csv").read_bytes() == b'device\r\n""\r\nx\r\n'


def test_another_reader_of_csv(tmp_path: Path) -> None:
    write("csv", source("runs", Campaign().runs), tmp_path / "o.csv")
    table = pyarrow.csv.read_csv(tmp_path / "o.csv")
    assert table.column_names == NAMES
    assert table.schema.field("official").type == pa.bool_()
    assert table.schema.field("metric_value").type == pa.float64()


def test_parquet_knows_types_units_and_meanings(tmp_path: Path) -> None:
    write("parquet", source("runs", []), tmp_path / "o.parquet")
    schema = pq.read_schema(tmp_path / "o.parquet")
    assert schema.names == NAMES
    assert schema.field("epoch").type == pa.int64()
    assert schema.field("submittable").type == pa.bool_()
    assert schema.field("latency_p50_ms").metadata[b"unit"] == b"ms"
    assert schema.metadata[b"fleetmark.view"] == b"runs"


@pytest.mark.parametrize("format", TABLES)
def test_no_rows(tmp_path: Path, format: str) -> None:
    assert write(format, source("runs", []), tmp_path / "out") == 0
    assert (tmp_path / "out").exists()


@pytest.mark.parametrize("format", TABLES)
def test_what_is_not_finite_becomes_null(tmp_path: Path, format: str) -> None:
    rows = RowSource(["device", "metric_value"], [("d", math.nan), ("d", -math.inf)])
    path = tmp_path / "o"
    write(format, rows, path)
    assert READERS[format](path)[1] == [("d", None), ("d", None)]


@pytest.mark.parametrize("format", TABLES)
def test_lone_surrogates_do_not_break_a_file(tmp_path: Path, format: str) -> None:
    path = tmp_path / "o"
    write(format, RowSource(["device"], [("a\ud800b",)]), path)
    assert READERS[format](path)[1] == [("a?b",)]


@pytest.mark.parametrize(
    ("row", "column"),
    [
        (("d", "many"), "query_count"),
        (("d", 1 << 63), "query_count"),
        (("d", 1.5), "query_count"),
        ((b"bytes", 1), "device"),
    ],
)
@pytest.mark.parametrize("format", TABLES)
def test_a_value_that_does_not_fit_is_null_and_output(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    format: str,
    row: tuple[Any, ...],
    column: str,
) -> None:
    """One bad cell must not keep all other rows from being exported."""
    columns = ["device", "query_count"]
    rows = RowSource(columns, [("d", 1), row, ("e", 2)])
    assert write(format, rows, tmp_path / "o") == 3
    names, found = READERS[format](tmp_path / "o")
    place = list(names).index(column)
    assert [line[place] in (None, "") for line in found] == [False, True, False]
    assert rows.misfits == {column: 1}
    assert f"count=1 column={column}" in caplog.text


@pytest.mark.parametrize("format", TABLES)
def test_a_row_of_another_length_is_named(tmp_path: Path, format: str) -> None:
    rows = RowSource(["device", "query_count"], [("d", 1), ("d",)])
    with pytest.raises(FleetmarkError, match="row 2 has 1 values, expected 2") as caught:
        write(format, rows, tmp_path / "o")
    assert caught.value.kind is ErrorKind.BAD_MESSAGE
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", FORMATS)
def test_a_failed_export_leaves_what_was_there(tmp_path: Path, format: str) -> None:
    out = tmp_path / "out"
    out.write_text("before")

    def rows() -> Iterator[tuple[str]]:
        yield ("a",)
        raise ConnectionError("the controller went away")

    with pytest.raises((ConnectionError, FleetmarkError)):
        write(format, RowSource(["device"], rows()), out)
    assert out.read_text() == "before"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_replaces_what_was_there(tmp_path: Path, format: str) -> None:
    out = tmp_path / "out"
    out.write_text("before")
    write(format, source("runs", Campaign().runs), out)
    assert not out.read_bytes().startswith(b"before")
    assert list(tmp_path.iterdir()) == [out]


def test_paths_that_cannot_be_written(tmp_path: Path) -> None:
    rows = RowSource(["device"], [("d",)])
    with pytest.raises(FleetmarkError, match="does not exist") as caught:
        write("csv", rows, tmp_path / "missing" / "o.csv")
    assert caught.value.kind is ErrorKind.USAGE
    with pytest.raises(FleetmarkError, match="is a folder"):
        write("csv", rows, tmp_path)
    with pytest.raises(FleetmarkError, match=r"unknown format 'xls'\. Formats: csv"):
        write("xls", rows, tmp_path / "o")
    with pytest.raises(FleetmarkError, match="unknown view 'runz'"):
        write("csv", rows, tmp_path / "o", view="runz")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(FleetmarkError, match="Permission denied"):
            write("csv", RowSource(["device"], [("d",)]), tmp_path / "o.csv")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("format", TABLES)
def test_no_room(tmp_path: Path, format: str) -> None:
    """A limit on the size of files stands for a full disk: both end a write."""
    import signal

    random = np.random.default_rng(1)
    rows = [(random.bytes(50).hex(),) for _ in range(5000)]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(FleetmarkError) as caught:
            write(format, RowSource(["device"], rows), tmp_path / "o")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.kind in (ErrorKind.DISK_FULL, ErrorKind.USAGE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet", "sqlite"])
def test_samples_are_written_like_rows(tmp_path: Path, format: str) -> None:
    """Exports in columns have the bytes, or the rows, of exports row by row."""
    samples = {
        'run "1", é': np.array([0, 5, (1 << 62)], np.int64),
        "run2": np.array([], np.int64),
        "run3": np.arange(700, dtype=np.int64) * 1_000_003,
    }

    def parts(run_id: str) -> Iterator[Any]:
        return decode_parts(encode(samples[run_id]), 300)

    rows = [(run, i, int(v)) for run, values in samples.items() for i, v in enumerate(values)]
    one, other = tmp_path / "one", tmp_path / "other"
    assert write_samples(format, SampleSource(list(samples), parts), one) == len(rows)
    names = ["run_id", "sample_index", "latency_ns"]
    assert write(format, RowSource(names, iter(rows)), other, view="samples") == len(rows)
    if format == "parquet":
        assert pq.read_schema(one).equals(pq.read_schema(other), check_metadata=True)
        assert pq.read_table(one).equals(pq.read_table(other))
    else:
        assert one.read_bytes() == other.read_bytes()


def test_samples_have_no_page(tmp_path: Path) -> None:
    with pytest.raises(FleetmarkError, match="unknown format 'html'"):
        write_samples("html", SampleSource([], lambda _: iter(())), tmp_path / "o")


def test_cells_of_every_kind() -> None:
    cells = [csv_cell(value) for value in (None, "", True, False, 1, 0.1, 1e300, "a")]
    assert cells == ["", '""', "true", "false", "1", "0.1", "1e+300", "a"]


def test_the_column_table_is_whole() -> None:
    for view, table in VIEWS.items():
        for name, column in table.items():
            assert column.name == name
            assert column.type in TYPES, f"{view}.{name}"
            assert column.meaning, f"{view}.{name}"
            if column.type in ("integer", "real"):
                assert column.unit or column.name in UNITLESS, f"{view}.{name}"


UNITLESS = {
    "epoch",
    "release_serial",
    "repetition",
    "priority",
    "event_id",
    "sample_index",
    "power_mode",
}
