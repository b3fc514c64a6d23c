"""A received name never leads out of its folder, on any system."""

from __future__ import annotations

import ntpath
import posixpath
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.received_files import (
    name_fault,
    received_path,
    received_tree_path,
    write_received,
)

BAD = [
    *("", ".", "..", "a/b", "../x", "/etc/passwd", "a\\b", "C:", "C:x", "a:b", "a*", 'a"b'),
    *("x.", "x ", " x", "con", "NUL.txt", "com1", "LPT9.log", "CONIN$", "a\nb", "a\x00", "\x1b[2J"),
    *("\u202eexe.txt", "a" * 201, "é" * 101, "\ud800"),
]
GOOD = ["result.json", "samples.i64", "mlperf_log_detail.txt", ".hidden", "a b", "con2", "é.txt"]
NAMES = st.text(st.characters(codec=None), max_size=30) | st.sampled_from([*BAD, *GOOD]).flatmap(
    lambda name: st.sampled_from([name, name.upper(), f"{name}/x", f"../{name}"])
)


@pytest.mark.parametrize("name", BAD)
def test_a_name_that_could_lead_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    assert name_fault(name)
    with pytest.raises(FleetmarkError) as caught:
        write_received(tmp_path / "new", {"fine": b"", name: b""})
    assert caught.value.kind is ErrorKind.BAD_DOCUMENT and str(caught.value).isprintable()
    assert not (tmp_path / "new").exists(), "names are checked before anything is written"


@pytest.mark.parametrize("name", GOOD)
def test_a_plain_name_is_taken(name: str, tmp_path: Path) -> None:
    (path,) = write_received(tmp_path / "new" / "deep", {name: b"content"})
    assert path.read_bytes() == b"content" and path.parent == tmp_path / "new" / "deep"


@given(NAMES)
def test_what_is_taken_stays_in_its_folder_on_every_system(name: str) -> None:
    if name_fault(name):
        return
    assert received_path(Path("/folder"), name).parent == Path("/folder")
    for system in (posixpath, ntpath):
        assert system.dirname(system.normpath(system.join("folder", name))) == "folder"
        assert not system.isabs(name) and system.splitdrive(name)[0] == ""


@given(st.lists(NAMES, min_size=1, max_size=4).map("/".join))
def test_a_tree_stays_in_its_folder(name: str) -> None:
    try:
        path = received_tree_path(Path("/folder"), name)
    except FleetmarkError as error:
        assert error.kind is ErrorKind.BAD_DOCUMENT
        assert any(map(name_fault, name.split("/")))
        return
    assert posixpath.normpath(path) == str(path) == f"/folder/{name}"


def test_names_that_differ_in_case_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FleetmarkError, match="the same name"):
        write_received(tmp_path / "new", {"a.txt": b"1", "A.TXT": b"2"})
    assert not (tmp_path / "new").exists()


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"untouched")
    (tmp_path / "name").symlink_to(elsewhere)
    write_received(tmp_path, {"name": b"new"})
    assert elsewhere.read_bytes() == b"untouched"
    assert (tmp_path / "name").read_bytes() == b"new" and not (tmp_path / "name").is_symlink()
