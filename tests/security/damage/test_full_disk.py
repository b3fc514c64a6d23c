"""A disk that is full as a program starts: one line says so, and nothing is lost.

How much is free decides which of the first writes fails: all of them are tried.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Database

from fleetmark_controller.store.db.connection import connect, migrate
from fleetmark_controller.store.db.migrations import MIGRATIONS
from fleetmark_core.errors import ErrorKind, FleetmarkError
from tests.security.damage.programs import Homes, last_line, start

NO_MOUNTS = "" if os.geteuid() == 0 and shutil.which("mount") else "needs root, for a small tmpfs"
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.xdist_group("damages"),
    pytest.mark.skipif(bool(NO_MOUNTS), reason=NO_MOUNTS),
]
WRONG = ("damaged", "ermission", "backup", "Traceback")
OLD = 2
"""How many migrations the old store has."""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """Mount a small file system."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, free_kib: int) -> Path:
    """Leave `free_kib` of a file system; return the file to delete later."""
    filler = folder / "filler"
    pages = shutil.disk_usage(folder).free // 4096 - free_kib // 4
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, pages * 4096)
    return filler


def check_reported(program: str, home: Path) -> bool:
    """Start a program; return whether it said that the disk is full, else it serves."""
    end = start(program, home)
    if end.code in (None, 5):
        assert "Traceback" not in end.output, end
        return False
    line = last_line(end, program)
    assert end.code == 4, end
    assert "the disk is full" in line, line
    assert str(home) in line, line
    assert "Free space" in line, line
    assert not any(word in line for word in WRONG), line
    return True


@pytest.mark.slow
@pytest.mark.parametrize("free_kib", [0, 8, 64, 68, 96, 128, 192, 256])
def test_a_controller_starts_again_once_there_is_room(
    free_kib: int, homes: Homes, small: Path
) -> None:
    """Its CA and its store are the same as before."""
    home = small / "controller"
    shutil.copytree(homes.controller, home)
    ca = (home / "identity" / "ca.pem").read_bytes()
    filler = fill(small, free_kib)
    assert check_reported("controller", home) or free_kib
    filler.unlink()
    assert start("controller", home).code is None
    assert (home / "identity" / "ca.pem").read_bytes() == ca
    with closing(sqlite3.connect(home / "results.db")) as connection:
        assert connection.execute("SELECT count(*) FROM device").fetchone() == (1,)


@pytest.mark.slow
@pytest.mark.parametrize("free_kib", [0, 72, 128, 256, 512])
def test_a_first_start_of_a_controller_can_be_repeated(free_kib: int, small: Path) -> None:
    """Whatever of the new home was written."""
    home = small / "controller"
    filler = fill(small, free_kib)
    assert check_reported("controller", home) or free_kib > 256
    filler.unlink()
    assert start("controller", home).code is None


@pytest.mark.slow
@pytest.mark.parametrize("free_kib", [0, 64, 72])
def test_an_agent_starts_again_once_there_is_room(free_kib: int, homes: Homes, small: Path) -> None:
    """And is the same device."""
    home = small / "agent"
    shutil.copytree(homes.agent, home)
    identity = (home / "identity" / "device.json").read_bytes()
    filler = fill(small, free_kib)
    assert check_reported("agent", home) or free_kib
    filler.unlink()
    assert start("agent", home).code == 5
    assert (home / "identity" / "device.json").read_bytes() == identity


@pytest.mark.slow
def test_a_migration_that_finds_no_room_is_reported_by_the_controller(small: Path) -> None:
    """In one line; the next start migrates."""
    home = small / "controller"
    home.mkdir(mode=0o700)
    old_store(home / "results.db")
    filler = fill(small, 72)
    assert check_reported("controller", home)
    filler.unlink()
    assert start("controller", home).code is None


@pytest.mark.parametrize("free_kib", [0, 4, 16, 32, 48, 64, 80, 96, 128])
def test_a_migration_that_finds_no_room_can_be_repeated(free_kib: int, small: Path) -> None:
    """Each migration has happened or has not; the rows are there."""
    store = small / "results.db"
    old_store(store)
    filler = fill(small, free_kib)
    try:
        migrate(store)
    except FleetmarkError as error:
        assert error.kind is ErrorKind.DISK_FULL, error
        assert str(small) in str(error)
    else:
        assert free_kib >= 64
    filler.unlink()
    migrate(store)
    with closing(connect(store)) as connection:
        assert connection.execute("SELECT count(*) FROM device").fetchone()[0] == 1
        assert connection.execute("PRAGMA quick_check").fetchone()[0] == "ok"


def old_store(path: Path) -> None:
    """Make a store of an earlier version, with one device."""
    with closing(connect(path)) as connection:
        names = [migration.name for migration in MIGRATIONS._migrations]
        MIGRATIONS.apply(Database(connection), stop_before=names[OLD])
        columns = connection.execute("PRAGMA table_info(device)").fetchall()
        needed = [column for column in columns if column["notnull"] or column["pk"]]
        texts = ", ".join("'{}'" if c["type"] == "TEXT" else "1" for c in needed)
        named = ", ".join(str(column["name"]) for column in needed)
        connection.execute(f"INSERT INTO device ({named}) VALUES ({texts})")
