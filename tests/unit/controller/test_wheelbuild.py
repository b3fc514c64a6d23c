"""The parts of a build that need no compiler: what a wheel must be, and where things come from."""

from __future__ import annotations

import contextlib
import platform
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from installer.sources import WheelFile

from fleetmark_catalog.load import Build, Sdist
from fleetmark_controller.artifacts import foreign_deb
from fleetmark_controller.wheelbuild import elf
from fleetmark_controller.wheelbuild.repack import repack
from fleetmark_core.errors import FleetmarkError
from tests.support.build_recipes import SETUPTOOLS

ARCH = platform.machine()
BUILD = Build(
    "my-thing", "1.2", Sdist("s.tar.gz", "0" * 64, 1), (SETUPTOOLS,), "3.11", ARCH, "2.28"
)
WHEEL = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: cp311-cp311-linux_x\n"


# ELF


def a_library(
    machine: int = 62,
    needed: tuple[str, ...] = (),
    versions: tuple[str, ...] = (),
    again: int = 0,
) -> bytes:
    """A shared library with nothing but a dynamic section: names and versions that it needs.

    Its versions are listed `again` times more, by entries that overlap.
    """
    names = [*needed, "libc.so.6", *versions]
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in names)
    at = {name: strings.index(b"\0" + name.encode() + b"\0") + 1 for name in set(names)}
    head, table = 64, 56 * 2
    string_place = head + table
    need_place = string_place + len(strings)
    need = b""
    if versions:
        for left in range(again, -1, -1):
            follows = 16 if left else 0
            need += struct.pack(
                "<HHIII", 1, len(versions), at["libc.so.6"], 16 * (left + 1), follows
            )
        for number, name in enumerate(versions):
            last = number == len(versions) - 1
            need += struct.pack("<IHHII", 0, 0, 0, at[name], 0 if last else 16)
    dynamic_place = need_place + len(need)
    entries = [(1, at[name]) for name in needed] + [(5, 0x1000 + string_place)]
    if versions:
        entries += [(0x6FFFFFFE, 0x1000 + need_place), (0x6FFFFFFF, again + 1)]
    dynamic = b"".join(struct.pack("<qQ", *entry) for entry in [*entries, (0, 0)])
    size = dynamic_place + len(dynamic)
    segments = struct.pack("<IIQQQQQQ", 1, 5, 0, 0x1000, 0x1000, size, size, 0x1000)
    segments += struct.pack(
        "<IIQQQQQQ",
        *(2, 6, dynamic_place, 0x1000 + dynamic_place, 0x1000 + dynamic_place),
        *(len(dynamic), len(dynamic), 8),
    )
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    return header + segments + strings + need + dynamic


def test_the_dependencies_of_a_library_are_read_from_it() -> None:
    needs = elf.read_needs(a_library(183, ("libm.so.6",), ("GLIBC_2.17", "GLIBC_2.28")))
    assert needs == elf.ElfRequirements(
        "aarch64", ("libm.so.6",), {"libc.so.6": ("GLIBC_2.17", "GLIBC_2.28")}
    )


@pytest.mark.parametrize(
    ("library", "arch", "glibc", "reason"),
    [
        (a_library(), "x86_64", "2.28", ""),
        (a_library(), "aarch64", "2.28", "is for x86_64, not aarch64"),
        (a_library(40), "aarch64", "2.28", "is for machine 40, not aarch64"),
        (a_library(versions=("GLIBC_2.28", "GLIBC_2.2.5")), "x86_64", "2.28", ""),
        (
            a_library(versions=("GLIBC_2.34",)),
            "x86_64",
            "2.28",
            "needs glibc 2.34, newer than 2.28",
        ),
        (
            a_library(needed=("libc.so.6", "libstdc++.so.6")),
            "x86_64",
            "2.28",
            "needs libstdc++.so.6, which some devices do not have",
        ),
    ],
)
def test_what_does_not_run_everywhere_is_named(
    library: bytes, arch: str, glibc: str, reason: str
) -> None:
    assert elf.incompatibility(elf.read_needs(library), arch, glibc) == reason


def test_a_library_without_section_headers_is_read_as_a_loader_reads_it() -> None:
    library = a_library(versions=("GLIBC_2.34",))
    # No section headers: sh_off, the size of one, their number and the names' index.
    assert library[40:48] == bytes(8) and library[60:64] == bytes(4)
    assert elf.incompatibility(elf.read_needs(library), "x86_64", "2.28") != ""


@pytest.mark.parametrize(
    "library",
    [
        pytest.param(a_library(needed=("libc.so.6",) * 200_000), id="200,000 libraries"),
        pytest.param(a_library(needed=("a" * 5000,)), id="a name of 5,000 bytes"),
        pytest.param(a_library(versions=("GLIBC_2.2",) * 60_000, again=9), id="versions"),
        pytest.param(a_library(versions=("GLIBC_2.2",) * 60_000)[:-40], id="cut"),
    ],
)
def test_a_library_that_takes_long_to_read_is_damaged(library: bytes) -> None:
    with pytest.raises(ValueError, match="damaged ELF"):
        elf.read_needs(library)


@pytest.mark.fuzz("ELF libraries")
@given(st.data())
def test_a_damaged_library_is_an_error_and_nothing_else(data: st.DataObject) -> None:
    whole = bytearray(a_library(183, ("libm.so.6",), ("GLIBC_2.17",)))
    cut = data.draw(st.integers(0, len(whole)))
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(6, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        elf.read_needs(bytes(whole[:cut]))


# wheels


def a_wheel(folder: Path, name: str = "my_thing-1.2", wheel: bytes = WHEEL, **files: bytes) -> Path:
    path = folder / "linux.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.dist-info/WHEEL", wheel)
        archive.writestr(f"{name}.dist-info/METADATA", f"Name: {name}\n")
        archive.writestr(f"{name}.dist-info/RECORD", "nonsense")
        for file, data in files.items():
            archive.writestr(file.replace("_so", ".so"), data)
    return path


def test_a_wheel_is_packed_anew_with_the_tags_that_it_keeps(tmp_path: Path) -> None:
    library = a_library({"x86_64": 62, "aarch64": 183}[ARCH])
    target = tmp_path / BUILD.filename
    repack(a_wheel(tmp_path, thing_so=library), BUILD, target)
    first = target.read_bytes()
    repack(a_wheel(tmp_path, thing_so=library), BUILD, target)
    assert target.read_bytes() == first
    with zipfile.ZipFile(target) as archive:
        names = archive.namelist()
        assert names[0] == "thing.so" and names[1:] == sorted(names[1:])
        wheel = archive.read("my_thing-1.2.dist-info/WHEEL").decode()
        assert f"Tag: cp311-cp311-manylinux_2_28_{ARCH}\n" in wheel
        assert wheel.count("Tag:") == 1 and "Root-Is-Purelib: false" in wheel
        record = archive.read("my_thing-1.2.dist-info/RECORD").decode().splitlines()
        assert {line.split(",")[0] for line in record} == set(names)


def test_a_packed_wheel_is_sound_whatever_its_files_are_called(tmp_path: Path) -> None:
    """PyPA's installer, which devices use, reads the list of files."""
    files = {'a,b".txt': b"1", "sp ace/ä.py": b"2"}
    target = tmp_path / BUILD.filename
    repack(a_wheel(tmp_path, **files), BUILD, target)
    with WheelFile.open(target) as wheel:
        wheel.validate_record()
        found = {entry[0] for entry, _, _ in wheel.get_contents()}
    assert set(files) < found


def test_tags_of_a_build_are_replaced_in_any_case(tmp_path: Path) -> None:
    target = tmp_path / BUILD.filename
    source = a_wheel(tmp_path, wheel=WHEEL.replace(b"Tag", b"tag").replace(b"Root", b"root"))
    repack(source, BUILD, target)
    with zipfile.ZipFile(target) as archive:
        lines = archive.read("my_thing-1.2.dist-info/WHEEL").decode().lower().splitlines()
    assert [line for line in lines if line.startswith(("tag", "root"))] == [
        "root-is-purelib: false",
        f"tag: cp311-cp311-manylinux_2_28_{ARCH}",
    ]


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("other-1.2", b"", "other-1.2.dist-info"),
        ("my_thing-1.3", b"", "my_thing-1.3.dist-info"),
        ("my_thing-1.2", b"\x7fELF\x01", "not a 64-bit"),
        ("my_thing-1.2", a_library(40), "machine 40"),
    ],
)
def test_a_wheel_that_is_not_what_its_name_says_is_refused(
    tmp_path: Path, name: str, data: bytes, words: str
) -> None:
    with pytest.raises(FleetmarkError, match=words):
        repack(a_wheel(tmp_path, name, thing_so=data), BUILD, tmp_path / BUILD.filename)


# where things come from

LISTING = """\
Packages|bookworm|main|http://a.example/debian/
Packages|bookworm-security|main|http://a.example/security/
Packages|bookworm|contrib|http://b.example/debian/
Sources|bookworm|main|http://c.example/debian/
Packages|nodistro|main|http://d.example/
nonsense
"""


def test_only_archives_of_whole_releases_count() -> None:
    assert foreign_deb.archives(LISTING) == ["http://a.example/debian/"]
    with pytest.raises(FleetmarkError, match="no known Debian release"):
        foreign_deb.archives("Packages|noble|main|http://u.example/ubuntu/\n")


def test_a_machine_without_apt_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FleetmarkError, match="apt-get is not installed"):
        foreign_deb.ForeignDebian("bookworm", "arm64", tmp_path / "apt").download(["libc6"])


# names


def test_a_build_is_named_by_what_decides_it() -> None:
    import dataclasses

    same = dataclasses.replace(BUILD, minutes=77)
    assert same.key == BUILD.key
    for change in (
        {"python": "3.12"},
        {"arch": "riscv64"},
        {"glibc": "2.17"},
        {"version": "1.3"},
        {"sdist": Sdist("s.tar.gz", "1" * 64, 1)},
        {"tools": ()},
    ):
        assert dataclasses.replace(BUILD, **change).key != BUILD.key  # type: ignore[arg-type]
    assert BUILD.filename == f"my_thing-1.2-cp311-cp311-manylinux_2_28_{ARCH}.whl"
