"""Files are read if they are regular and of the size that they may have."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetmark_core.atomic_file import write_atomic
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.digest import sha256_file, sha256_hex
from fleetmark_core.regular_file import (
    DamagedFileError,
    is_damage,
    open_regular,
    read_regular,
)

READERS: list[Callable[[Path], object]] = [read_regular, open_regular, sha256_file]


@pytest.mark.parametrize("read", READERS)
def test_a_fifo_is_refused_without_waiting_for_a_writer(
    read: Callable[[Path], object], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(DamagedFileError, match="not a regular file") as caught:
        read(tmp_path / "fifo")
    assert caught.value.filename == str(tmp_path / "fifo")


@pytest.mark.parametrize("read", READERS)
def test_a_folder_is_refused(read: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError) as caught:
        read(tmp_path)
    assert is_damage(caught.value)


@pytest.mark.parametrize("read", READERS)
def test_a_file_that_is_not_there(read: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        read(tmp_path / "absent")
    assert not is_damage(caught.value)


def test_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_regular(path, 5) == b"12345"
    with pytest.raises(DamagedFileError, match="larger than 4 bytes"):
        read_regular(path, 4)


def test_a_file_whose_size_the_system_does_not_tell() -> None:
    assert read_regular(Path("/proc/self/status")).startswith(b"Name:")


def test_a_failed_write_names_the_file_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError, match="directory") as caught:
        write_atomic(tmp_path / "file", b"data")
    assert caught.value.errno == errno.EISDIR
    assert caught.value.filename == str(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_stands_in_a_blobs_place_gives_way(
    make: Callable[[Path], object], tmp_path: Path
) -> None:
    blobs = BlobFolder(tmp_path)
    path = blobs.path(sha256_hex(b"data"))
    path.parent.mkdir(parents=True)
    make(path)
    blobs.partial(sha256_hex(b"data")).mkdir()
    assert not blobs.has(sha256_hex(b"data"))
    assert not blobs.partial(sha256_hex(b"data")).exists()
    blobs.put_bytes(b"data")
    assert path.read_bytes() == b"data"
