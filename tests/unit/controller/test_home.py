"""Errors of a controller whose home has parts of two controllers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleetmark_controller.home.credential_files import admin_file
from fleetmark_controller.server.home import Home
from fleetmark_controller.signing.release_store import ReleaseStore, key_file
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.errors import ErrorKind, FleetmarkError


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Open a home in which a controller has run."""
    made = Home(tmp_path / "home")
    made.store.write_bytes(b"store")
    made.write_generation(5)
    admin_file(made.folder).parent.mkdir()
    admin_file(made.folder).write_text("{}")
    yield made
    made.close()


def test_a_store_that_lost_its_log_is_refused(home: Home) -> None:
    with pytest.raises(FleetmarkError, match="log is missing") as caught:
        home.check_generation(0)
    assert caught.value.kind is ErrorKind.STORE_UNUSABLE
    assert "results.db-wal" in caught.value.where


def test_a_first_start_that_was_killed_is_no_damage(home: Home) -> None:
    admin_file(home.folder).unlink()
    assert home.check_generation(0) == ""


@pytest.mark.parametrize(("stored", "warns"), [(4, True), (5, False), (6, False)])
def test_a_store_that_is_older_than_its_home_is_reported(
    stored: int, warns: bool, home: Home
) -> None:
    assert ("generation 4" in home.check_generation(stored)) is warns


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
@pytest.mark.parametrize("name", ["results.db", "results.db-wal", "results.db-shm"])
def test_what_stands_in_the_stores_place_is_named(
    name: str, make: Callable[[Path], object], home: Home
) -> None:
    (home.folder / name).unlink(missing_ok=True)
    make(home.folder / name)
    with pytest.raises(FleetmarkError, match="not a regular file") as caught:
        home.check_store()
    assert caught.value.where == str(home.folder / name)


def test_no_new_catalog_key_is_made_beside_a_release(tmp_path: Path) -> None:
    (tmp_path / "release.json").write_bytes(b"{}")
    with pytest.raises(FleetmarkError, match="it is missing") as caught:
        ReleaseStore(tmp_path, BlobFolder(tmp_path / "blobs"), 60.0, make=True)
    assert caught.value.where == str(tmp_path / "catalog-trust.json")
    assert not key_file(tmp_path).exists()
