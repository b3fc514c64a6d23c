"""What others hand in is read as a regular file of bounded size, or refused."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetmark_core.atomic_file import write_atomic
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.digest import sha256_file, sha256_hex
from fleetmark_core.regular_file import is_damage, open_regular, read_regular

LIMIT = 4 << 20


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for size in (0, 1, LIMIT - 1, LIMIT):
        path.write_bytes(b"x" * size)
        assert read_regular(path, LIMIT) == b"x" * size


def test_a_larger_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    os.truncate(path, 1 << 40)
    with pytest.raises(OSError, match=r"larger than 4,194,304 bytes") as caught:
        read_regular(path, LIMIT)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))


def test_a_file_that_says_it_is_empty_is_bounded_too() -> None:
    path = Path("/proc/self/maps")
    assert read_regular(path, LIMIT).count(b"\n") > 5
    with pytest.raises(OSError, match="larger than 100 bytes"):
        read_regular(path, 100)


OTHERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a folder": (Path.mkdir, "directory"),
    "a FIFO": (os.mkfifo, "FIFO, not a regular file"),
    "a link to a device": (lambda path: path.symlink_to("/dev/zero"), "device node, not a regular"),
    "a link to itself": (lambda path: path.symlink_to(path.name), "symbolic links"),
    "nothing": (lambda path: None, "No such file"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, what: str) -> None:
    """By whatever reads others' files: the text says what is there."""
    make, says = OTHERS[what]
    path = tmp_path / "file"
    make(path)
    readers: list[Callable[[], object]] = [
        lambda: read_regular(path, LIMIT),
        lambda: open_regular(path),
        lambda: sha256_file(path),
    ]
    for read in readers:
        with pytest.raises(OSError, match=says) as caught:
            read()
        assert caught.value.filename == str(path)


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link", LIMIT) == b"content"
    assert sha256_file(tmp_path / "link") == sha256_hex(b"content")


def test_damage_is_reported_from_absence(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, damaged in ((tmp_path / "fifo", True), (tmp_path, True), (tmp_path / "no", False)):
        with pytest.raises(OSError) as caught:
            read_regular(path)
        assert is_damage(caught.value) is damaged


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
