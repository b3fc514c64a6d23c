"""The column table documents the store's views, all of them and no others."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fleetmark_controller.export.columns import VIEWS
from fleetmark_controller.store.db.connection import migrate

PUBLIC = [view for view in VIEWS if view != "samples"]


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    path: Path = tmp_path_factory.mktemp("store") / "results.db"
    migrate(path)
    with closing(sqlite3.connect(path)) as connection:
        names = [
            row[0]
            for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'view'")
        ]
        return {
            name: [
                column[0]
                for column in connection.execute(f"SELECT * FROM {name} LIMIT 0").description
            ]
            for name in names
        }


def test_no_view_is_undocumented(views: dict[str, list[str]]) -> None:
    assert sorted(views) == sorted(PUBLIC)


@pytest.mark.parametrize("view", PUBLIC)
def test_no_column_is_undocumented(views: dict[str, list[str]], view: str) -> None:
    assert set(views[view]) - set(VIEWS[view]) == set()


@pytest.mark.parametrize("view", PUBLIC)
def test_no_documented_column_is_missing(views: dict[str, list[str]], view: str) -> None:
    assert set(VIEWS[view]) - set(views[view]) <= {"samples_sha256"}
