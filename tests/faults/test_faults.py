"""Every kind of fault, `REPEAT` times, in the middle of a campaign on real processes."""

from __future__ import annotations

import os
import random
import re
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults import kinds  # noqa: F401  (fills the registry)
from tests.faults.harness import FAULTS, Fault, FaultyFleet, check
from tests.faults.table import TABLE
from tests.support.processes import until

REPEAT = int(os.environ.get("REPEAT", "5"))
SEED = os.environ.get("FAULT_SEED") or str(time.time_ns() // 1000 % 10**8)


def slug(name: str) -> str:
    """Return the name as a word for `-k`."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower().replace("'s", ""))


pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]


@pytest.mark.parametrize(
    ("kind", "repetition"),
    [
        pytest.param(kind, number, id=f"{slug(kind.name)}-{number}")
        for number in range(1, REPEAT + 1)  # outside, so that a broken-off run has some of each
        for kind in FAULTS
    ],
)
def test_nothing_is_lost(kind: Fault, repetition: int, tmp_path: Path) -> None:
    obstacle = kind.needs()
    if obstacle:
        pytest.skip(obstacle)
    print(f"FAULT_SEED={SEED}")
    chance = random.Random(f"{SEED}/{kind.name}/{repetition}")
    row = TABLE.row(kind.name)
    fleet = FaultyFleet(tmp_path, kind.devices, kind.dataset_bytes)
    try:
        if kind.before:
            kind.before(fleet)
        fleet.up()
        fleet.submit(
            kind.jobs,
            duration_s=kind.duration_s,
            anywhere=kind.anywhere,
            ballast_kib=kind.ballast_kib,
        )
        kind.strike(fleet, chance)
        if not fleet.is_over:
            fleet.over()
        until(fleet.ended, "the campaign's end", kind.patience_s)
        until(fleet.settled, "all results", 60)
        time.sleep(0.1)  # for the last sample of the watch
        tally = check(fleet, kind.states, kind.alarms)
        lines = fleet.logged() if kind.logged else ("nothing to tell",)
        found = next((line for line in lines if re.search(kind.logged, line)), "")
    except BaseException:
        row.lost += 1
        print_evidence(fleet)
        raise
    finally:
        fleet.stop()
    row.repetitions += 1
    row.lost += len(tally.lost)
    row.doubled += len(tally.doubled)
    row.double_run += len(tally.double_run)
    row.recovery_s.append(fleet.recovery_s())
    row.logged = row.logged or found
    for name, value in fleet.measured.items():
        row.measure(name, value)
    if tally.all() or not found:
        print_evidence(fleet)
    assert not tally.all()
    assert found, f"nothing tells an operator: no line matches {kind.logged!r}"


def print_evidence(fleet: FaultyFleet) -> None:
    """Print what pytest shows if the test fails."""
    with suppress(sqlite3.Error):
        for row in fleet.query("SELECT at, kind, device, job_id, epoch, detail FROM events"):
            print(*row)
    for log in sorted(fleet.folder.glob("*.log")):
        print(f"--- {log.name}", *log.read_text().splitlines()[-60:], sep="\n")
