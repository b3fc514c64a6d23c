"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fleetmark_core.atomic_file import replacement, write_atomic


def test_it_replaces_a_file_and_makes_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.json"
    write_atomic(path, b"first")
    write_atomic(path, b"second", durable=False)
    assert path.read_bytes() == b"second"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.json"]


def test_a_private_file_is_never_readable_by_others(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_atomic(tmp_path / "keys" / "key.pem", b"secret", private=True)
        write_atomic(tmp_path / "open", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "keys" / "key.pem").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "open").stat().st_mode & 0o777 == 0o666


def test_what_fails_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_what_a_killed_writer_left_is_overwritten(tmp_path: Path) -> None:
    """A link in its place is not followed."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"untouched")
    with replacement(tmp_path / "file") as scratch:
        scratch.write_bytes(b"x")
    scratch.symlink_to(elsewhere)
    write_atomic(tmp_path / "file", b"mine")
    assert elsewhere.read_bytes() == b"untouched"
    assert (tmp_path / "file").read_bytes() == b"mine" and not scratch.is_symlink()


def test_a_block_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        replacement(tmp_path / "out") as scratch,
    ):
        scratch.write_bytes(b"half")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_writer_by_other_means_begins_with_no_file(tmp_path: Path) -> None:
    """SQLite, for one, would go on in what a killed process of the same number left."""
    with replacement(tmp_path / "store") as scratch:
        scratch.write_bytes(b"x")
    scratch.write_bytes(b"left by a killed process")
    with replacement(tmp_path / "store") as again:
        assert again == scratch and not again.exists()
        again.write_bytes(b"y")
    assert (tmp_path / "store").read_bytes() == b"y"
