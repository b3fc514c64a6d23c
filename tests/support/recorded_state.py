"""State that an earlier version wrote, and what its own code read of it."""

from __future__ import annotations

import json
import sqlite3
import tarfile
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from fleetmark_controller.store.results import public_views
from tests.support import DATA

RECORDED = DATA / "recorded" / "ac21297"
VIEWS = ("devices", "campaigns", "jobs", "attempts", "runs", "results", "telemetry", "events")
RENAMED = {
    "runs": {
        "quality": "condition",
        "quality_reasons": "condition_reasons",
        "lock_digest": "lockfile_sha256",
    },
    "results": {"quality": "condition", "quality_reasons": "condition_reasons"},
    "audit": {"who": "actor", "act": "action"},
}
"""Names that changed on purpose after the recording, by view or record, old and new."""
NEW_EACH_TIME = {"run_id", "performance_run_id", "finished_at"}
"""Columns that differ whenever the same results are taken in once more."""


def recorded(name: str) -> Any:
    """Return what the version that wrote the state read of it."""
    return json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))


def renamed(kind: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return recorded rows under the names of this version, in the recorded order."""
    names = RENAMED.get(kind, {})
    return [{names.get(name, name): value for name, value in row.items()} for row in rows]


def plain(value: Any) -> Any:
    """Return a value in the form of the recording: JSON, by field names."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bytes):
        return value.decode()
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def only(wanted: Any, found: Any) -> Any:
    """Return the value without fields that the recording does not have."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return {key: only(wanted[key], found[key]) for key in wanted if key in found}
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        return [only(*pair) for pair in zip(wanted, found, strict=True)]
    return found


def same(wanted: Any, value: object) -> None:
    """Check that a value is what was recorded; later versions may have added fields."""
    assert only(wanted, plain(value)) == wanted


def unpacked(folder: Path) -> Path:
    """Unpack the recorded homes into `folder`, and return it."""
    with tarfile.open(RECORDED / "state.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def rows_of(connection: sqlite3.Connection, view: str) -> list[dict[str, Any]]:
    columns, rows = public_views.select(connection, view)
    return [dict(zip(columns, row, strict=True)) for row in rows]
