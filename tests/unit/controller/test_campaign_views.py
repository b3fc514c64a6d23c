"""Rows of one campaign: the same as ever, and found by indexes in a store of any size."""

from __future__ import annotations

import itertools
import re
import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlite_utils.db import Database

from fleetmark_controller.store.db.connection import connect, migrate
from fleetmark_controller.store.db.migrations import MIGRATIONS
from fleetmark_controller.store.db.migrations.view_columns import append_columns
from fleetmark_controller.store.jobs import listings
from fleetmark_controller.store.results import public_views
from tests.support.examples import examples

BEFORE = "0022_views_by_campaign"
Run = tuple[str, str, int, str, str, bool]
RUNS = st.lists(
    st.tuples(
        st.sampled_from(["c1", "c2"]),
        st.sampled_from(["key1", "key2"]),
        st.integers(1, 2),
        st.sampled_from(["d1", "d2"]),
        st.sampled_from(["performance", "accuracy", "TEST01"]),
        st.booleans(),
    ),
    max_size=12,
)
"""Campaign, configuration, repetition, device, mode, and whether the run is official."""


def old_view(folder: Path, name: str) -> str:
    """Return the statement that created a view before the migration, as view `old`."""
    database = Database(connect(folder / "old.db"))
    MIGRATIONS.apply(database, stop_before=BEFORE)
    sql = str(database[name].schema)
    database.conn.close()
    return sql.replace(f"CREATE VIEW {name} ", "CREATE VIEW old ", 1)


def filled(connection: sqlite3.Connection, runs: list[Run]) -> None:
    connection.execute("PRAGMA foreign_keys = OFF")
    for number, (campaign, key, repetition, device, mode, official) in enumerate(runs):
        job, moment = f"j{number}", f"2026-01-01T00:00:{number:02}Z"
        put(
            connection,
            "job",
            job_id=job,
            sequence=number,
            campaign_id=campaign,
            label="",
            configuration="{}",
            configuration_key=key,
            repetition=repetition,
            state="SUCCEEDED",
            reason="",
            priority=0,
            timeout_s=1,
            deadline_at="",
            max_attempts=1,
            created_at=moment,
        )
        put(
            connection,
            "run",
            run_id=f"r{number}",
            job_id=job,
            epoch=number,
            official=int(official),
            device=device,
            arch=f"arch{number}",
            os="Debian",
            benchmark="b",
            model=None if number % 3 else "m",
            scenario="Offline",
            mode=mode,
            profile="quick",
            parameters="{}",
            condition_reasons="[]",
            submittable=number % 2,
            lock_sha256="",
            provenance="{}",
            stored_at=moment,
            metric_value=float(number),
            accuracy=number / 7,
        )
        for kind in ("job.ended", "job.seen"):
            put(connection, "event", at=moment, kind=kind, job_id=job, epoch=number, detail="")
    put(connection, "event", at="", kind="device.connected", device_id="d1", detail="")
    put(connection, "event", at="", kind="job.unknown", job_id="gone", detail="")


def put(connection: sqlite3.Connection, table: str, **row: object) -> None:
    names, marks = ", ".join(row), ", ".join("?" * len(row))
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(row.values()))


def rows(connection: sqlite3.Connection, sql: str) -> tuple[list[str], list[str]]:
    cursor = connection.execute(sql)
    return [column[0] for column in cursor.description], sorted(repr(tuple(row)) for row in cursor)


@settings(max_examples=examples(100), suppress_health_check=list(HealthCheck), deadline=None)
@given(runs=RUNS)
@pytest.mark.parametrize("view", ["results", "events"])
def test_a_view_has_the_columns_and_rows_that_it_had(
    tmp_path_factory: pytest.TempPathFactory,
    view: str,
    runs: list[Run],
) -> None:
    folder = tmp_path_factory.mktemp("store")
    migrate(folder / "results.db")
    connection = connect(folder / "results.db")
    filled(connection, runs)
    connection.execute(old_view(folder, view))
    assert rows(connection, f"SELECT * FROM {view}") == rows(connection, "SELECT * FROM old")
    for campaign in ("c1", "c2"):
        where = f"WHERE campaign_id = '{campaign}'"
        found = rows(connection, f"SELECT * FROM {view} {where}")
        assert found == rows(connection, f"SELECT * FROM old {where}")
    connection.close()


def test_a_later_column_is_appended_to_both_parts(tmp_path: Path) -> None:
    migrate(tmp_path / "results.db")
    database = Database(connect(tmp_path / "results.db"))
    before = [column.name for column in database["results"].columns]
    append_columns(database, {"results": ("stored_at", "agent_version")})
    after = [column.name for column in database["results"].columns]
    assert after == [*before, "stored_at", "agent_version"]
    filled(
        database.conn,
        [("c1", "k", 1, "d1", "performance", True), ("c1", "l", 1, "d1", "accuracy", True)],
    )
    query = "SELECT stored_at FROM results ORDER BY stored_at"
    found = [tuple(row) for row in database.conn.execute(query)]
    assert found == [(None,), ("2026-01-01T00:00:00Z",)]


class Recorder(sqlite3.Connection):
    """A connection that records the statements that it runs."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        self.statements: list[str] = []
        self.set_trace_callback(self.statements.append)


@pytest.mark.parametrize("view", [view for view in public_views.VIEWS if view != "devices"])
def test_rows_of_a_campaign_are_found_by_indexes(tmp_path: Path, view: str) -> None:
    check_plans(tmp_path, lambda c: list(public_views.select(c, view, campaign_id="c1")[1]))


def test_lists_of_a_campaign_are_found_by_indexes(tmp_path: Path) -> None:
    check_plans(tmp_path, lambda c: listings.list_jobs(c, "c1"))
    check_plans(tmp_path, lambda c: listings.list_jobs(c, "c1", "QUEUED"))
    check_plans(tmp_path, lambda c: listings.list_campaigns(c, "c1"))


def check_plans(folder: Path, query: object) -> None:
    """Assert that no statement of `query` reads a whole table or index."""
    path = folder / "results.db"
    migrate(path)
    connection = sqlite3.connect(path, factory=Recorder)
    filled(connection, [("c1", "k", 1, "d1", "performance", True)])
    connection.statements.clear()
    query(connection)  # type: ignore[operator]
    statements = list(connection.statements)
    assert statements
    for sql in statements:
        plan = [str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}")]
        # A subquery and the elements of a JSON list are as small as what they come from.
        scans = [step for step in plan if re.match(r"SCAN (?!\(subquery|sample VIRTUAL)", step)]
        assert not scans, (sql, plan)
    connection.close()


def test_lists_without_a_campaign_have_all(tmp_path: Path) -> None:
    migrate(tmp_path / "results.db")
    connection = connect(tmp_path / "results.db")
    runs = list(itertools.product(["c1", "c2"], ["k"], [1], ["d1"], ["performance"], [True]))
    filled(connection, runs)
    assert [job.campaign_id for job in listings.list_jobs(connection)] == ["c1", "c2"]
    assert [job.job_id for job in listings.list_jobs(connection, "c2")] == ["j1"]
    assert listings.list_jobs(connection, "c2", "QUEUED") == []
    assert len(listings.list_jobs(connection, state="SUCCEEDED")) == 2
