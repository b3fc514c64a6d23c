"""Untrusted archives: each bad one is refused and leaves nothing behind."""

from __future__ import annotations

import gzip
import io
import os
import resource
import shutil
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.safe_unpack import UnpackLimits, unpack

LIMITS = UnpackLimits(total_bytes=1 << 20, entries=100)


def tar(*entries: tuple[str, bytes | None, bytes], mode: str = "w:gz") -> bytes:
    """(name, content, type) in a tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content, kind in entries:
            member = tarfile.TarInfo(name)
            member.type = kind
            member.size = len(content or b"")
            member.linkname = "/etc/passwd" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            archive.addfile(member, io.BytesIO(content or b""))
    return buffer.getvalue()


def packed(*names: str, content: bytes = b"x", mode: int = 0o100644) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return buffer.getvalue()


REG = tarfile.REGTYPE


def files(*names: str) -> bytes:
    return tar(*((name, b"x", REG) for name in names))


def lying_tar() -> bytes:
    """An extended header that says it is 3 GiB long, and nearly compresses to nothing."""
    header = tarfile.TarInfo("x")
    header.type = tarfile.XHDTYPE
    header.size = 3 << 30
    return gzip.compress(header.tobuf(tarfile.USTAR_FORMAT) + bytes(8 << 20))


def cut_tar() -> bytes:
    return tar(("a", bytes(range(256)) * 40, REG), mode="w")[:5000]


def cut_gzip() -> bytes:
    data = tar(("a", os.urandom(5000), REG))
    return data[: len(data) // 2]


def wrong_crc() -> bytes:
    data = bytearray(packed("a", content=bytes(range(256)) * 2))
    data[40] ^= 0xFF
    return bytes(data)


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "tar leads out": (lambda: files("../a"), "leads out"),
    "tar leads out later": (lambda: files("ok", "b/../../a"), "leads out"),
    "tar absolute": (lambda: files("/etc/a"), "not a relative path"),
    "tar drive": (lambda: files("C:a"), "not a relative path"),
    "tar backslash": (lambda: files("..\\a"), "not a relative path"),
    "tar symbolic link": (lambda: tar(("a", None, tarfile.SYMTYPE)), "symbolic link"),
    "tar hard link": (lambda: tar(("a", None, tarfile.LNKTYPE)), "hard link"),
    "tar character device": (lambda: tar(("a", None, tarfile.CHRTYPE)), "device node"),
    "tar block device": (lambda: tar(("a", None, tarfile.BLKTYPE)), "device node"),
    "tar pipe": (lambda: tar(("a", None, tarfile.FIFOTYPE)), "a pipe"),
    "tar duplicate": (lambda: files("a", "a"), "occurs twice"),
    "tar case": (lambda: files("README", "ReadMe"), "collides with 'README'"),
    "tar case of a folder": (lambda: files("Data/a", "data/b"), "collides with 'Data'"),
    "tar file under a file": (lambda: files("a", "a/b"), "collides with 'a'"),
    "tar file over a folder": (lambda: files("a/b", "a"), "collides with 'a'"),
    "tar accents": (lambda: files("é", "e\u0301"), "collides"),
    "tar newline": (lambda: files("a\nb"), "control characters"),
    "tar escape": (lambda: files("a\x1b[2J"), "control characters"),
    "tar direction": (lambda: files("a\u202etxt"), "control characters"),
    "tar reserved": (lambda: files("NUL.txt"), "not a valid file name on every system"),
    "tar deep": (lambda: files("/".join("a" * 40) + "/b"), "deeper than 32"),
    "tar entries": (lambda: files(*(f"f{n}" for n in range(101))), "more than 100 entries"),
    "tar bomb": (lambda: tar(("a", bytes(2 << 20), REG)), "larger than"),
    "tar bomb in parts": (
        lambda: tar(*((f"a{n}", bytes(300_000), REG) for n in range(5))),
        "larger than",
    ),
    "tar header bomb": (lying_tar, "cannot be read"),
    "tar cut": (cut_tar, "cut short|unexpected end"),
    "tar gzip cut": (cut_gzip, "cannot be read|cut short"),
    "no archive": (lambda: b"hello, world" * 100, "cannot be read"),
    "empty": (lambda: b"", "cannot be read"),
    "zip leads out": (lambda: packed("../a"), "leads out"),
    "zip absolute": (lambda: packed("/etc/a"), "not a relative path"),
    "zip backslash": (lambda: packed("a\\..\\b"), "not a relative path"),
    "zip symbolic link": (lambda: packed("a", mode=stat.S_IFLNK | 0o777), "not a regular file"),
    "zip device": (lambda: packed("a", mode=stat.S_IFCHR | 0o600), "not a regular file"),
    "zip case": (lambda: packed("A", "a"), "collides"),
    "zip control": (lambda: packed("a\x07"), "control characters"),
    "zip NUL": (
        lambda: packed("a.txt#.exe").replace(b"txt#", b"txt\0"),
        "control characters|cannot be read",
    ),
    "zip bomb": (lambda: packed("a", content=bytes(2 << 20)), "larger than"),
    "zip entries": (lambda: packed(*(f"f{n}" for n in range(101))), "more than 100 entries"),
    "zip changed": (wrong_crc, "cannot be read"),
    "zip cut": (lambda: packed("a", content=os.urandom(500))[:300], "cannot be read"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_archive_is_refused_and_leaves_nothing(tmp_path: Path, case: str) -> None:
    make, expected = BAD[case]
    archive = tmp_path / "archive"
    archive.write_bytes(make())
    with pytest.raises(FleetmarkError, match=expected) as caught:
        unpack(archive, tmp_path / "target", LIMITS)
    assert caught.value.kind is ErrorKind.BAD_DOCUMENT
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_with_one_name_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(packed("a", "a"))
    with pytest.raises(FleetmarkError, match="occurs twice"):
        unpack(tmp_path / "archive", tmp_path / "target", LIMITS)


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_million_entries_are_refused_early(tmp_path: Path, kind: str) -> None:
    """The tar is written by repeating one header; the zip's list by repeating one line."""
    archive = tmp_path / "archive"
    if kind == "tar":
        archive.write_bytes(tarfile.TarInfo("d").tobuf() * 1_000_000)
        limits = UnpackLimits(1 << 20, 10_000)
        expected = "occurs twice"
    else:
        one = packed("a", content=b"")
        place = one.index(b"PK\x01\x02")
        end = one.index(b"PK\x05\x06")
        line = one[place:end]
        tail = bytearray(one[end:])
        tail[12:16] = (len(line) * 1_000_000).to_bytes(4, "little")
        archive.write_bytes(one[:place] + line * 1_000_000 + bytes(tail))
        limits = UnpackLimits(1 << 20, 10_000)
        expected = "its list of entries is larger than"
    with pytest.raises(FleetmarkError, match=expected):
        unpack(archive, tmp_path / "target", limits)
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


def test_an_existing_target_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(files("a"))
    (tmp_path / "target").mkdir()
    with pytest.raises(FileExistsError):
        unpack(tmp_path / "archive", tmp_path / "target", LIMITS)
    assert list((tmp_path / "target").iterdir()) == []


def test_the_owners_execute_bit_is_all_that_is_kept(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(packed("run", mode=stat.S_IFREG | 0o6755))
    unpack(tmp_path / "archive", tmp_path / "target", LIMITS)
    assert stat.S_IMODE((tmp_path / "target" / "run").stat().st_mode) == 0o755


NAME = st.from_regex(r"[a-z0-9_]{1,8}(\.[a-z]{1,3})?", fullmatch=True)
TREE = st.dictionaries(
    st.lists(NAME, min_size=1, max_size=3).map("/".join), st.binary(max_size=2000), max_size=8
)


@given(tree=TREE, form=st.sampled_from(["w", "w:gz", "w:bz2", "w:xz", "zip"]))
def test_what_is_packed_comes_out(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, bytes], form: str
) -> None:
    folder = tmp_path_factory.mktemp("unpack")
    if form == "zip":
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content in tree.items():
                archive.writestr(name, content)
        data = buffer.getvalue()
    else:
        data = tar(*((name, content, REG) for name, content in tree.items()), mode=form)
    (folder / "archive").write_bytes(data)
    names = set(tree)
    clash = any(f"{name}/".startswith(f"{other}/") for name in names for other in names - {name})
    reserved = any(
        part.split(".")[0] in {"con", "prn", "aux", "nul"} or part[:3] in {"com", "lpt"}
        for name in names
        for part in name.split("/")
    )
    try:
        found = unpack(folder / "archive", folder / "target", LIMITS)
    except FleetmarkError:
        assert clash or reserved
        assert not (folder / "target").exists()
        return
    assert {path.as_posix() for path in found} == names
    for name, content in tree.items():
        assert (folder / "target" / name).read_bytes() == content


@pytest.mark.fuzz("archives")
@given(data=st.binary(max_size=3000), cut=st.integers(0, 3000), flip=st.integers(0, 3000))
def test_no_bytes_break_it(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, cut: int, flip: int
) -> None:
    folder = tmp_path_factory.mktemp("unpack")
    for archive in (files("a", "b/c"), packed("a", "b/c"), tar(("a", data, REG), mode="w"), data):
        changed = bytearray(archive[:cut] if cut % 2 else archive)
        if changed:
            changed[flip % len(changed)] ^= 1 << (flip % 8)
        (folder / "archive").write_bytes(bytes(changed))
        try:
            unpack(folder / "archive", folder / "target", LIMITS)
        except FleetmarkError as error:
            assert error.kind is ErrorKind.BAD_DOCUMENT
            assert {path.name for path in folder.iterdir()} == {"archive"}
        else:
            shutil.rmtree(folder / "target")


def test_a_list_of_entries_that_hides_its_size_is_not_read(tmp_path: Path) -> None:
    """The plain record says that the list is small; zipfile follows the one of 64 bits."""
    path = tmp_path / "archive"
    size = 1 << 32
    record = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, size, 4)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, size + 4, 1)
    plain = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 46, 4, 0)
    with path.open("wb") as file:
        file.write(b"PK\3\4")
        file.seek(size, os.SEEK_CUR)
        file.write(record + locator + plain)
    before = peak_bytes()
    with pytest.raises(FleetmarkError, match="its list of entries is larger than"):
        unpack(path, tmp_path / "out", LIMITS)
    assert peak_bytes() - before < 1 << 30


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def test_an_archive_that_is_a_fifo_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "archive")
    with pytest.raises(FleetmarkError, match="FIFO, not a regular file"):
        unpack(tmp_path / "archive", tmp_path / "out", LIMITS)
