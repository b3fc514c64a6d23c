"""View telemetry shows readings, whatever lies in the records beside them."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetmark_controller.evaluation import telemetry
from fleetmark_controller.export.columns import VIEWS
from fleetmark_controller.export.rows import RowSource
from fleetmark_controller.store.db.connection import migrate
from fleetmark_controller.store.results import public_views
from fleetmark_core.telemetry_columns import TELEMETRY_COLUMNS
from tests.support.examples import examples

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=2),
    max_leaves=5,
)
CELLS = st.integers(-5, 200) | st.floats(0, 100) | JSON
ROWS = (
    st.lists(CELLS, min_size=len(TELEMETRY_COLUMNS), max_size=len(TELEMETRY_COLUMNS))
    | st.lists(CELLS)
    | JSON
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "results.db"
    migrate(path)
    return path


def shown(store: Path, *records: Any) -> list[tuple[Any, ...]]:
    """What the view makes of records with these rows."""
    with closing(sqlite3.connect(store)) as c:
        c.execute("PRAGMA foreign_keys = OFF")
        c.execute("BEGIN")
        c.execute(
            "INSERT INTO job (job_id, sequence, campaign_id, label, configuration,"
            " configuration_key, repetition, state, reason, priority, timeout_s, deadline_at,"
            " max_attempts, created_at) VALUES ('j', 1, 'c', '', '{}', '', 1, 'SUCCEEDED', '', 0,"
            " 1, '', 1, '')"
        )
        names = [row[1] for row in c.execute("PRAGMA table_info(run)") if row[3]]
        values = {name: "" for name in names} | {"run_id": "r", "job_id": "j", "epoch": 1}
        c.execute(
            f"INSERT INTO run ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})",
            tuple(values.values()),
        )
        for seq, part in enumerate(records, 1):
            payload = json.dumps({"columns": list(TELEMETRY_COLUMNS), "rows": part}).encode()
            c.execute(
                "INSERT INTO record (job_id, epoch, seq, kind, payload, sha256, received_at)"
                " VALUES ('j', 1, ?, 'telemetry', ?, ?, '')",
                (seq, payload, f"{seq}"),
            )
        columns, found = public_views.select(c, "telemetry")
        source = RowSource(columns, list(found))
        return list(source.clean("telemetry"))


def test_columns_are_those_of_the_agent() -> None:
    assert list(VIEWS["telemetry"])[3:] == list(TELEMETRY_COLUMNS)


@settings(max_examples=examples(150), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ROWS, max_size=4) | JSON)
def test_any_rows_leave_the_sound_ones_readable(store: Path, rows: Any) -> None:
    rest = [None] * (len(TELEMETRY_COLUMNS) - 2)
    sound = [1, 2.5, *rest]
    found = shown(store, rows, [sound])
    assert (1.0, 2.5, *rest) in [line[3:] for line in found]


@settings(max_examples=examples(100), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(CELLS, min_size=len(TELEMETRY_COLUMNS), max_size=len(TELEMETRY_COLUMNS)))
def test_it_shows_what_the_evaluation_accepts(store: Path, row: list[Any]) -> None:
    (first,) = shown(store, [row])
    accepted = telemetry.read(TELEMETRY_COLUMNS, [row])
    for name, value in zip(TELEMETRY_COLUMNS, first[3:], strict=True):
        (reading,) = accepted.columns[name]
        if reading is None:
            assert value is None, name
        else:
            whole = VIEWS["telemetry"][name].type == "integer"
            assert value == pytest.approx(reading, abs=0.5 if whole else 1e-9), name
