"""The renames of migration 14 keep every row of a store, and reach every name in it."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from fleetmark_controller.backup.create import create_backup
from fleetmark_controller.backup.restore import restore_backup
from fleetmark_controller.identity.audit_chain import find_break
from fleetmark_controller.store.db.backup import wanted_blobs
from fleetmark_controller.store.db.connection import STORE_NAME, connect, is_current, migrate
from fleetmark_controller.store.db.migrations import MIGRATIONS, m0015_names
from fleetmark_controller.store.results import public_views
from fleetmark_controller.store.security import audit
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.digest import sha256_file
from tests.support.recorded_state import RENAMED, unpacked

BEFORE = "0015_names"
COPIES = 300
TABLES = {
    "device_care": "device_admin",
    "device_lock": "device_cached_lock",
    "option_row": "job_option",
    "roster": "device_list_version",
    "meta": "key_value",
}
COLUMNS = {
    "option_row": {"option_set": "option_set_id"},
    "job": {
        "option_set": "option_set_id",
        "series": "interleave_group",
        "turn": "interleave_index",
    },
    "attempt": {"orders": "order_document"},
    "run": {
        "search": "search_trace",
        "lock_digest": "lock_sha256",
        "quality": "condition",
        "quality_reasons": "condition_reasons",
    },
    "audit": {"who": "actor", "act": "action"},
}
ESTIMATE: dict[str, Any] = {"estimate_reason": None}
PHASES: dict[str, Any] = dict.fromkeys(
    ("load_ms", "first_inference_ms", "warmup_ms", "steady_state_ms", "load_memory_bytes")
)
STEADY: dict[str, Any] = dict.fromkeys(
    ("steady_start_s", "steady_throughput_samples_per_s", "steady_latency_mean_ms")
)
METER: dict[str, Any] = {"energy_uncertainty_j": None}
ADDED: dict[str, dict[str, Any]] = {
    "attempt": {"failure_cause": ""},
    "run": {**ESTIMATE, **PHASES, "operators": None, **STEADY, **METER, "energy_meter": None},
}
"""Columns that later migrations append, with the value that they have in old rows."""
NEW_TABLES = ("memory_peak",)
"""Tables of later migrations."""
ADDED_TO_VIEWS: dict[str, dict[str, Any]] = {
    "runs": {**ESTIMATE, **PHASES, "operators": None, **STEADY, **METER, "energy_meter": None},
    "results": {**ESTIMATE, **PHASES, **STEADY, **METER},
}
"""Columns that later migrations append to views, with the value that they have in old rows."""
OLD_NAMES = re.compile(
    r"\b(device_care|device_lock|option_row|option_set|\w*roster|meta|orders|job_in_series|series"
    r"|turn|lock_digest|quality|quality_reasons|who|act)\b"
)
Rows = list[dict[str, Any]]


def names_of(connection: sqlite3.Connection, kind: str) -> list[str]:
    rows = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = ? AND name NOT LIKE '\\_%' ESCAPE '\\'"
        " AND name NOT LIKE 'sqlite%'",
        (kind,),
    )
    return [row[0] for row in rows]


def contents(path: Path, kind: str) -> dict[str, tuple[list[str], Rows]]:
    """Columns and rows of every table or view, rows in one order whatever the columns' names."""
    found = {}
    with closing(connect(path, read_only=True)) as connection:
        for name in names_of(connection, kind):
            cursor = connection.execute(f"SELECT * FROM {name}")
            columns = [column[0] for column in cursor.description]
            rows = sorted((tuple(row) for row in cursor), key=repr)
            found[name] = (columns, [dict(zip(columns, row, strict=True)) for row in rows])
    return found


def with_names(table: tuple[list[str], Rows], names: dict[str, str]) -> tuple[list[str], Rows]:
    columns, rows = table
    return (
        [names.get(column, column) for column in columns],
        [{names.get(column, column): value for column, value in row.items()} for row in rows],
    )


def with_added(table: tuple[list[str], Rows], added: dict[str, Any]) -> tuple[list[str], Rows]:
    columns, rows = table
    return [*columns, *added], [row | added for row in rows]


def multiply(connection: sqlite3.Connection) -> None:
    """Give every job of the store so many copies, with attempts, records and runs of their own."""
    connection.execute("PRAGMA foreign_keys = OFF")
    for table in ("job", "attempt", "record", "run", "run_file", "event", "option_row"):
        cursor = connection.execute(f"SELECT * FROM {table}")
        columns = [column[0] for column in cursor.description]
        rows = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
        for number in range(COPIES):
            for row in rows:
                copy = {
                    name: f"{value}-{number}"
                    if name in ("job_id", "run_id", "option_set", "series") and value
                    else value
                    for name, value in row.items()
                }
                if table == "job":
                    copy |= {"sequence": row["sequence"] + 1000 * (number + 1)}
                    copy |= {"series": f"group {number}", "turn": number}
                if table == "run":
                    copy |= {"quality": ("good", "suspicious", "unchecked", None)[number % 4]}
                    copy |= {"search": json.dumps({"found": number})}
                copy.pop("event_id", None)
                names, marks = ", ".join(copy), ", ".join("?" * len(copy))
                connection.execute(
                    f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(copy.values())
                )


@pytest.fixture(scope="module")
def old_stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Stores of the last schema with the old names: as recorded, with many rows, and empty."""
    folder = tmp_path_factory.mktemp("stores")
    recorded = unpacked(folder / "state") / "controller" / STORE_NAME
    stores = {"recorded": recorded, "large": folder / "large.db", "empty": folder / "empty.db"}
    shutil.copy(recorded, stores["large"])
    for name, path in stores.items():
        with closing(connect(path)) as connection:
            MIGRATIONS.apply(Database(connection), stop_before=BEFORE)
            if name == "large":
                connection.execute("BEGIN")
                multiply(connection)
                connection.execute("COMMIT")
    return stores


@pytest.fixture(params=["recorded", "large", "empty"])
def old(
    request: pytest.FixtureRequest, old_stores: dict[str, Path], tmp_path: Path
) -> Iterator[Path]:
    path = tmp_path / "old.db"
    shutil.copy(old_stores[request.param], path)
    yield path


def test_the_views_keep_their_rows_under_the_new_names(old: Path) -> None:
    before = contents(old, "view")
    migrate(old)
    after = contents(old, "view")
    assert sorted(before) == sorted(after) == sorted(public_views.VIEWS)
    for view in before:
        expected = with_names(before[view], RENAMED.get(view, {}))
        assert after[view] == with_added(expected, ADDED_TO_VIEWS.get(view, {})), view


def test_the_tables_keep_their_rows_under_the_new_names(old: Path) -> None:
    before = contents(old, "table")
    migrate(old)
    after = contents(old, "table")
    for name in NEW_TABLES:
        assert after.pop(name)
    assert after == {
        TABLES.get(name, name): with_added(
            with_names(table, COLUMNS.get(name, {})), ADDED.get(name, {})
        )
        for name, table in before.items()
    }


def test_a_large_store_is_large(old_stores: dict[str, Path]) -> None:
    rows = contents(old_stores["large"], "view")
    assert len(rows["runs"][1]) > 3 * COPIES and len(rows["results"][1]) >= 3
    assert len(rows["jobs"][1]) > 7 * COPIES


def test_no_old_name_is_left(old: Path) -> None:
    migrate(old)
    with closing(connect(old, read_only=True)) as connection:
        texts = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql NOT NULL")
        left = {row[0]: OLD_NAMES.findall(f"{row[0]} {row[1]}") for row in texts}
    assert {name: words for name, words in left.items() if words} == {}


def test_the_store_is_sound_and_like_a_new_one(old: Path, tmp_path: Path) -> None:
    migrate(old)
    migrate(tmp_path / "new.db")
    texts = []
    for path in (old, tmp_path / "new.db"):
        with closing(connect(path, read_only=True)) as connection:
            assert [row[0] for row in connection.execute("PRAGMA integrity_check")] == ["ok"]
            rows = connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2")
            texts.append([tuple(row) for row in rows])
    assert texts[0] == texts[1]


def test_the_audit_chain_stays_unbroken_and_grows(old: Path) -> None:
    with closing(connect(old)) as connection:
        was = [tuple(row) for row in connection.execute("SELECT * FROM audit ORDER BY seq")]
    migrate(old)
    with closing(connect(old)) as connection:
        rows, head = list(audit.rows(connection)), audit.head(connection)
        assert [tuple(vars(row).values()) for row in rows] == was
        assert find_break(rows, *head) == ""
        audit.add(connection, 1, "person local", "campaign.submit", "c", size=1)
        more = list(audit.rows(connection))
        assert (len(more), more[-1].actor) == (len(rows) + 1, "person local")
        assert more[-1].action == "campaign.submit"
        assert find_break(more, *audit.head(connection)) == ""
    for number, row in enumerate(rows):
        changed = [*rows[:number], replace(row, actor="mallory"), *rows[number + 1 :]]
        assert find_break(changed, *head) == f"row {row.seq} was changed"


@pytest.mark.parametrize("table", ["device", "identity"])
def test_a_change_of_a_device_or_an_identity_raises_the_version(
    old_stores: dict[str, Path], tmp_path: Path, table: str
) -> None:
    path = tmp_path / "old.db"
    shutil.copy(old_stores["recorded"], path)
    migrate(path)
    version = "SELECT version FROM device_list_version"
    with closing(connect(path)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        (before,) = connection.execute(version).fetchone()
        (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        connection.execute(f"UPDATE {table} SET name = name || '-2'")
        assert connection.execute(version).fetchone()[0] == before + count
        connection.execute(f"DELETE FROM {table}")
        assert connection.execute(version).fetchone()[0] == before + 2 * count


@pytest.mark.parametrize("fails_after", range(0, 40, 3))
def test_an_interrupted_migration_leaves_no_trace(
    old_stores: dict[str, Path], tmp_path: Path, fails_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "old.db"
    shutil.copy(old_stores["recorded"], path)
    before = [contents(path, "table"), contents(path, "view")]
    statements = (*m0015_names._DROPS, *m0015_names._RENAMES, *m0015_names._CREATES)
    with monkeypatch.context() as patch:
        broken = (*statements[:fails_after], "no SQL", *statements[fails_after:])
        patch.setattr(m0015_names, "_DROPS", ())
        patch.setattr(m0015_names, "_RENAMES", ())
        patch.setattr(m0015_names, "_CREATES", broken)
        with pytest.raises(Exception, match="cannot be used"):
            migrate(path)
    assert [contents(path, "table"), contents(path, "view")] == before
    assert not is_current(path)
    migrate(path)
    assert is_current(path)


def test_a_backup_of_an_older_store_is_complete_and_is_restored(tmp_path: Path) -> None:
    """Operators make one before the new version's controller first starts."""
    home = unpacked(tmp_path / "state") / "controller"
    before = contents(home / STORE_NAME, "table")
    shutil.copy(home / STORE_NAME, tmp_path / "current.db")
    migrate(tmp_path / "current.db")
    wanted = wanted_blobs(tmp_path / "current.db")
    assert len(wanted) >= 5

    made = create_backup(home, tmp_path / "backup", 1).manifest
    stored = tmp_path / "backup" / STORE_NAME
    assert contents(stored, "table") == before, "the version that wrote it must read it, too"
    assert made.files[STORE_NAME].sha256 == sha256_file(stored)
    blobs = BlobFolder(tmp_path / "backup" / "blobs")
    assert [sha256 for sha256 in wanted if not blobs.has(sha256)] == list(made.missing_blobs)

    restored = restore_backup(tmp_path / "backup", tmp_path / "home")
    assert restored.blobs == made.blob_count > 0
    assert sorted(restored.needed_blobs) == sorted(made.missing_blobs)
    for folder in ("backup", "home"):
        files = [path for path in (tmp_path / folder).rglob(STORE_NAME) if path.is_file()]
        assert files == [tmp_path / folder / STORE_NAME]
    migrate(tmp_path / "home" / STORE_NAME)
    assert contents(tmp_path / "home" / STORE_NAME, "view") == contents(
        tmp_path / "current.db", "view"
    )
