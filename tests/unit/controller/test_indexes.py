"""What each hello looks up has an index: it takes as long in a large store as in an empty one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fleetmark_controller.store import events
from fleetmark_controller.store.db.connection import connect, migrate
from fleetmark_controller.store.devices import devices
from fleetmark_controller.store.jobs import scheduler_view
from fleetmark_controller.store.results import memory_peaks


@pytest.mark.parametrize(
    ("sql", "indexes"),
    [
        (events._NEWEST.format("at").replace("?", "'x'", 2).replace("?", "5"), ["event_of_device"]),
        (
            devices._ALIKE.replace("?1", "'x'").replace("?2", "'y'"),
            ["device_look", "identity_look"],
        ),
        (memory_peaks._OF_KEY.replace("?", "'x'"), ["memory_peak_by_run"]),
        (memory_peaks._NEW.replace("?", "5"), []),
        (
            re.sub(r"\?\d", "'x'", memory_peaks._ADD).partition("EXISTS")[2].strip("( )"),
            ["memory_peak_by_run"],
        ),
    ],
    ids=[
        *("events of a device", "names that look alike", "peaks of a lockfile", "new peaks"),
        "greater peaks",
    ],
)
def test_it_is_found_by_an_index(tmp_path: Path, sql: str, indexes: list[str]) -> None:
    migrate(tmp_path / "results.db")
    connection = connect(tmp_path / "results.db")
    plan = " ".join(str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}"))
    assert all(f"USING INDEX {name}" in plan or f"INDEX {name}" in plan for name in indexes), plan
    assert "SCAN" not in plan.replace("SCAN CONSTANT ROW", "")


def test_an_interleave_group_is_found_by_its_index(tmp_path: Path) -> None:
    migrate(tmp_path / "results.db")
    connection = connect(tmp_path / "results.db")
    plan = [
        row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {scheduler_view._GROUP}", "g")
    ]
    found = [step for step in plan if "job_in_interleave_group (interleave_group=?)" in step]
    assert len(found) == len([step for step in plan if "job" in step]) == 3, plan
