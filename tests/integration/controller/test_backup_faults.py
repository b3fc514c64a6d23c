"""Backups of homes with faults: a damaged blob, a name that is not UTF-8, an unusual target."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fleetmark_controller.artifacts.catalog_registry import Catalogs
from fleetmark_controller.backup import manifest
from fleetmark_controller.backup.create import create_backup
from fleetmark_controller.backup.file_copy import copy_blob
from fleetmark_controller.backup.restore import restore_backup
from fleetmark_controller.cli.backup import command
from fleetmark_controller.home.settings import check_settings, load_settings
from fleetmark_controller.store.db.connection import STORE_NAME, migrate
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.digest import sha256_file, sha256_hex
from fleetmark_core.errors import ErrorKind, FleetmarkError

NOT_UTF8 = os.fsdecode(b"notes-\xff.txt")
COMPONENT = """
kind = "model"
name = "tiny"
version = "1.0"
title = "tiny"
license = "MIT"
[model]
task = "image-classification"
input = { shape = [28, 28, 1] }
output = { classes = 10 }
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    (folder / "identity").mkdir(parents=True)
    (folder / "identity" / "ca.pem").write_text("a certificate")
    migrate(folder / STORE_NAME)
    blobs = BlobFolder(folder / "blobs")
    for data in (b"first", b"second"):
        blobs.put_bytes(data)
    return folder


def write_component(folder: Path, name: str = "tiny") -> Path:
    component = folder / "model" / name
    component.mkdir(parents=True)
    (component / "component.toml").write_text(COMPONENT)
    return component


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_name_that_is_not_utf8_is_outside_of_the_backup(home: Path, tmp_path: Path) -> None:
    component = write_component(home / "catalog")
    (component / NOT_UTF8).write_text("left out")
    (component / os.fsdecode(b"folder-\xff")).mkdir()
    (component / os.fsdecode(b"folder-\xff") / "deep.txt").write_text("left out")
    (component / os.fsdecode(b"link-\xff")).symlink_to(tmp_path)
    (home / "identity" / NOT_UTF8).write_text("left out")
    outside = tmp_path / "outside"
    write_component(outside)
    write_component(outside, os.fsdecode(b"tiny-\xff"))
    (home / "config.toml").write_text(f"catalogs = ['{outside}']\n")

    made = create_backup(home, tmp_path / "backup", 1).manifest

    for name in ("notes-", "folder-", "link-", "tiny-"):
        lines = [line for line in made.outside if f"{name}\\udcff" in line]
        assert lines, (name, made.outside)
        assert all(line.isascii() for line in lines)
    restored = restore_backup(tmp_path / "backup", tmp_path / "restored")
    assert restored.manifest == made
    assert (tmp_path / "restored/catalog/model/tiny/component.toml").read_text() == COMPONENT
    assert not [name for name in files(tmp_path / "restored") if "\udcff" in name]


def test_a_folder_that_cannot_be_read_is_outside_of_the_backup(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = write_component(home / "catalog") / "private"
    private.mkdir()
    (private / "weights.bin").write_bytes(b"1")
    scan = os.scandir

    def refuse(path: str | os.PathLike[str] = ".") -> Any:
        # As root, no mode keeps this process from reading a folder.
        if Path(path) == private:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    made = create_backup(home, tmp_path / "backup", 1).manifest
    assert made.outside == (f"{private}, which cannot be read: Permission denied",)
    assert "catalog/model/tiny/component.toml" in made.files


def test_no_backup_is_made_that_a_restoration_refuses(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest, "_MAX_BYTES", 100)
    with pytest.raises(FleetmarkError, match=r"could not be restored: .*larger than"):
        create_backup(home, tmp_path / "backup", 1)
    assert not (tmp_path / "backup").exists()


@pytest.mark.parametrize("end", ["", "/", "/.", "//"])
def test_a_catalog_folder_has_one_copy_however_it_is_spelled(
    home: Path, tmp_path: Path, end: str
) -> None:
    catalog = tmp_path / "catalog"
    write_component(catalog)
    (home / "config.toml").write_text(f"catalogs = ['{catalog}{end}']\n")
    create_backup(home, tmp_path / "backup", 1)
    restored = tmp_path / "restored"
    restore_backup(tmp_path / "backup", restored)
    catalog.rename(tmp_path / "gone")

    settings = load_settings(restored)
    check_settings(settings, restored)
    assert Catalogs(restored, [Path(one) for one in settings.catalogs]).load().has("model", "tiny")


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_unreadable(path: Path) -> None:
    path.unlink()
    path.symlink_to("/proc/self/mem")  # regular; a read from its begin fails with EIO


def change(path: Path) -> None:
    path.write_bytes(b"changed")


@pytest.mark.parametrize("damage", [make_folder, make_unreadable, change])
def test_a_blob_that_cannot_be_read_is_left_out(
    home: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    sha256 = sha256_hex(b"first")
    damage(BlobFolder(home / "blobs").path(sha256))
    (home / "blobs" / "sha256" / "zz").write_text("a stray file")
    made = create_backup(home, tmp_path / "backup", 1)
    assert made.damaged_blobs == (sha256,)
    assert (made.manifest.blob_count, made.blob_bytes) == (1, len(b"second"))
    assert not list((tmp_path / "backup" / "blobs" / "partial").iterdir())

    second = sha256_hex(b"second")
    damage(BlobFolder(tmp_path / "backup" / "blobs").path(second))
    (tmp_path / "backup" / "blobs" / "sha256" / "zz").write_text("a stray file")
    restored = restore_backup(tmp_path / "backup", tmp_path / "restored")
    assert (restored.blobs, restored.damaged_blobs, restored.lost_blobs) == (0, (second,), 0)


def test_the_command_warns_of_blobs_that_are_left_out(home: Path, tmp_path: Path) -> None:
    sha256 = sha256_hex(b"first")
    change(BlobFolder(home / "blobs").path(sha256))
    words = ["--home", str(home), "--out", str(tmp_path / "backup")]
    done = CliRunner().invoke(command, words, help_option_names=["-h", "--help"])
    assert done.exit_code == 0, done.output
    assert "and 1 blobs" in done.output
    assert "Warning: 1 blobs of the home are damaged or cannot be read" in done.output
    assert sha256 in done.output


def test_a_folder_that_cannot_be_written_is_not_a_damaged_blob(home: Path, tmp_path: Path) -> None:
    (tmp_path / "copies").write_text("not a folder")
    with pytest.raises(OSError, match="copies"):
        copy_blob(BlobFolder(home / "blobs"), BlobFolder(tmp_path / "copies"), sha256_hex(b"first"))


def test_a_path_with_the_word_full_does_not_mean_that_the_disk_is(
    home: Path, tmp_path: Path
) -> None:
    (tmp_path / "full-backups").write_text("not a folder")
    with pytest.raises(FleetmarkError, match="Not a directory") as caught:
        create_backup(home, tmp_path / "full-backups" / "first", 1)
    assert caught.value.kind is ErrorKind.CONFIGURATION


@pytest.mark.parametrize(
    "place",
    [
        "home/catalog/model/tiny/backup",
        "home/blobs/sha256/backup",
        "home/identity/backup",
        "catalog/model/tiny/backup",
        "link/model/tiny/backup",
    ],
)
def test_a_target_in_a_copied_folder_is_refused(home: Path, tmp_path: Path, place: str) -> None:
    write_component(home / "catalog")
    write_component(tmp_path / "catalog")
    (tmp_path / "link").symlink_to("catalog")
    (home / "config.toml").write_text(f"catalogs = ['{tmp_path / 'catalog'}']\n")
    before = files(tmp_path)
    with pytest.raises(FleetmarkError, match="which the backup copies") as caught:
        create_backup(home, tmp_path / place, 1)
    assert caught.value.kind is ErrorKind.USAGE
    assert files(tmp_path) == before
    create_backup(home, home / "backups" / "first", 1)
    create_backup(home, tmp_path / "catalog" / "backup", 1)


@pytest.fixture
def backup(home: Path, tmp_path: Path) -> Path:
    write_component(home / "catalog")
    create_backup(home, tmp_path / "backup", 1)
    return tmp_path / "backup"


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of 4 MiB at a folder that cannot be renamed."""
    folder = tmp_path / "volume"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a file system, and not in every container")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def restored_files(backup: Path) -> set[str]:
    return files(backup) - {manifest.MANIFEST}


def test_a_backup_is_restored_into_a_volume(backup: Path, volume: Path) -> None:
    (volume / "lost+found").mkdir()
    restored = restore_backup(backup, volume)
    assert restored.blobs == 2
    assert files(volume) == restored_files(backup)
    assert not (volume / ".restoring").exists()
    with pytest.raises(FleetmarkError, match="has files already"):
        restore_backup(backup, volume)


def test_a_full_volume_is_left_empty(home: Path, tmp_path: Path, volume: Path) -> None:
    BlobFolder(home / "blobs").put_bytes(bytes(5 << 20))
    create_backup(home, tmp_path / "large", 1)
    with pytest.raises(FleetmarkError) as caught:
        restore_backup(tmp_path / "large", volume)
    assert caught.value.kind is ErrorKind.DISK_FULL
    assert not list(volume.iterdir())
    with pytest.raises(FleetmarkError) as caught:
        create_backup(home, volume / "backup", 1)
    assert caught.value.kind is ErrorKind.DISK_FULL
    assert not list(volume.iterdir())


def test_an_empty_folder_becomes_a_home(backup: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / "lost+found").mkdir(parents=True)
    inode = target.stat().st_ino
    restore_backup(backup, target)
    assert target.stat().st_ino == inode
    assert files(target) == restored_files(backup)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup", "home", "target"]


KILLED = """
import os, sys
from pathlib import Path
from fleetmark_controller.backup.restore import restore_backup
left = [int(sys.argv[3])]
rename = Path.rename
def killed(path, target):
    if left[0] == 0:
        os._exit(9)
    left[0] -= 1
    return rename(path, target)
Path.rename = killed
restore_backup(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_an_interrupted_restoration_is_repeated(backup: Path, tmp_path: Path, renames: int) -> None:
    target = tmp_path / "target"
    target.mkdir()
    words = [sys.executable, "-c", KILLED, str(backup), str(target), str(renames)]
    assert subprocess.run(words, check=False).returncode == 9
    assert not (target / STORE_NAME).exists()
    assert (target / "identity").exists() == (renames > 0), "a controller refuses keys only"
    (target / "mine.txt").write_text("kept")
    with pytest.raises(FleetmarkError, match="has files already"):
        restore_backup(backup, target)
    (target / "mine.txt").unlink()
    restore_backup(backup, target)
    assert files(target) == restored_files(backup)


def test_a_home_that_lost_its_store_is_kept(backup: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / "identity").mkdir(parents=True)
    (target / ".restoring").mkdir()
    with pytest.raises(FleetmarkError, match="has files already"):
        restore_backup(backup, target)
    assert (target / "identity").is_dir()


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_failed_move_leaves_an_empty_folder_empty(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    rename = Path.rename
    done: list[Path] = []

    def fail(path: Path, target: Path) -> Path:
        if len(done) == renames:
            raise OSError(errno.EIO, "Input/output error", str(path))
        done.append(target)
        return rename(path, target)

    target = tmp_path / "target"
    target.mkdir()
    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(FleetmarkError, match="nothing was restored: Input/output error"):
        restore_backup(backup, target)
    assert len(done) == renames
    assert not list(target.iterdir())


def test_a_store_without_a_table_is_refused(backup: Path, tmp_path: Path) -> None:
    store = backup / STORE_NAME
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("DROP TABLE run_file")
    found = manifest.read_manifest(backup)
    entry = manifest.FileEntry(store.stat().st_size, sha256_file(store))
    changed = replace(found, files={**found.files, STORE_NAME: entry})
    (backup / manifest.MANIFEST).write_bytes(changed.document())
    with pytest.raises(FleetmarkError, match="nothing was restored: no such table"):
        restore_backup(backup, tmp_path / "restored")
    assert not (tmp_path / "restored.restoring").exists()


def test_a_failed_restoration_leaves_an_empty_folder_empty(backup: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (backup / "catalog/model/tiny/component.toml").write_text("changed")
    with pytest.raises(FleetmarkError, match="backup is damaged"):
        restore_backup(backup, target)
    assert not list(target.iterdir())


def test_the_root_folder_is_no_home(backup: Path) -> None:
    with pytest.raises(FleetmarkError, match="has files already") as caught:
        restore_backup(backup, Path("/"))
    assert caught.value.kind is ErrorKind.USAGE


@pytest.mark.parametrize("name", [".", "..", "../inner", "absent/.."])
def test_a_relative_home_is_restored(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    if name == "..":
        with pytest.raises(FleetmarkError, match="has files already"):
            restore_backup(backup, Path(name))
        return
    restore_backup(backup, Path(name))
    assert files(inner) == restored_files(backup)
