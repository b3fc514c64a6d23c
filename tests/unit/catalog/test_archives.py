"""Packages that are archives: what a component may say, which a device gets, what a lock says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from fleetmark_catalog.load import Catalog, load_catalog
from fleetmark_catalog.load.parse import read_component
from fleetmark_catalog.resolve import Fetch, Resolution, expand, resolve
from fleetmark_controller.artifacts.acquire import obtain
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.capabilities import Capabilities, Os
from fleetmark_core.digest import sha256_hex
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.lockfile import Lockfile, PackageArchive, parse_lockfile
from fleetmark_core.resource_model import Run, predict
from tests.support.sample_devices import HARNESS, sample_device
from tests.unit.catalog.test_components import MODEL, PROFILE, PROGRAM, artifact, write

BODY = '[package]\ndistribution = "tools"\n'
X86 = '[[package.archives]]\narch = "x86_64"\nglibc = "2.28"\nartifact = "x86.tar"\n'
ARM = '[[package.archives]]\narch = "aarch64"\nartifact = "arm.tar"\n'
ANY = '[[package.archives]]\narch = "any"\nartifact = "any.tar"\n'
BYTES = "unpacked_bytes = 1000\n"
SEEN = 'name = "data"\nbin = ["bin", "sbin"]\nlib = ["usr/lib"]\npython = ["."]\n'
OLD = Os("linux", "debian", "10", "4.19", "glibc", "2.27")
MUSL = Os("linux", "alpine", "3.19", "6.1", "musl", "1.2.4")


def files(*names: str) -> str:
    return "".join(artifact(f"{name}.tar", 16 + ord(name[0]), role="archive") for name in names)


def world(
    folder: Path, packages: dict[str, str], requires: tuple[str, ...] = ("tools",)
) -> Catalog:
    """A benchmark `b` whose program requires packages of which nothing else is needed."""
    for name, text in packages.items():
        write(folder, "package", name, text)
    needs = "".join(
        f'[[requires]]\nrole = "tools{n}"\n{choice}\n'
        for n, choice in enumerate(
            one if "=" in one else f'component = "package/{one}"' for one in requires
        )
    )
    listed = ", ".join(
        f'{{ role = "{kind}", component = "{kind}/b" }}' for kind in ("program", "model")
    )
    write(folder, "benchmark", "b", f"requires = [{listed}]\n{PROFILE}")
    write(folder, "model", "b", MODEL + artifact("model.onnx", 1))
    place = write(folder, "program", "b", needs + PROGRAM)
    (place / "main.py").write_text("")
    return load_catalog([folder])


def answer(catalog: Catalog, device: Capabilities | None = None) -> Resolution:
    return resolve(catalog, expand(catalog, "b")[0], device or sample_device(), HARNESS)


def lock_of(found: Resolution) -> Lockfile:
    assert found.lock is not None, found.reasons
    return found.lock


TOOLS = BODY + X86 + BYTES + SEEN + ARM + BYTES + files("x86", "arm")


@pytest.mark.parametrize(("arch", "name"), [("x86_64", "x86.tar"), ("aarch64", "arm.tar")])
def test_a_device_gets_the_archive_of_its_architecture(
    tmp_path: Path, arch: str, name: str
) -> None:
    found = answer(world(tmp_path, {"tools": TOOLS}), sample_device(arch=arch))
    lock = lock_of(found)
    (one,) = lock.environment.archives
    assert one.archive.name == name
    assert one.archive in list(lock.blobs())
    assert isinstance(found.sources[one.archive.sha256], Fetch)
    assert ("package", "tools", "1") in {(p.kind, p.name, p.version) for p in lock.components}
    assert any(f"unpacked from {name}" in line for line in found.explanation)
    assert parse_lockfile(lock.canonical()) == lock
    if arch == "x86_64":
        assert dataclasses.replace(one, archive=HARNESS) == PackageArchive(
            "data", HARNESS, 1000, ("bin", "sbin"), ("usr/lib",), (".",)
        )
    else:
        assert (one.name, one.folders()) == ("tools", ())


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        (
            dataclasses.replace(sample_device(), arch="riscv64"),
            "tools 1 has no archive for riscv64; it has x86_64, aarch64",
        ),
        (
            dataclasses.replace(sample_device(), os=OLD),
            "tools 1 needs glibc 2.28 or newer: the device has 2.27",
        ),
        (dataclasses.replace(sample_device(), os=MUSL), "tools 1 needs glibc: the device has musl"),
    ],
)
def test_a_device_that_none_fits_is_reported_why(
    tmp_path: Path, device: Capabilities, reason: str
) -> None:
    found = answer(world(tmp_path, {"tools": TOOLS}), device)
    assert found.lock is None
    assert reason in found.reasons


def test_it_is_obtained_like_any_artifact_from_the_mirror_first(tmp_path: Path) -> None:
    data = b"an archive"
    named = files("any").replace(f"{16 + ord('a'):064x}", sha256_hex(data))
    named = named.replace("size_bytes = 5", f"size_bytes = {len(data)}")
    found = answer(world(tmp_path / "catalog", {"tools": BODY + ANY + BYTES + named}))
    (one,) = lock_of(found).environment.archives
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / one.archive.sha256).write_bytes(data)
    blobs = BlobFolder(tmp_path / "blobs")
    source = {one.archive.sha256: found.sources[one.archive.sha256]}
    obtain(source, blobs, tmp_path / "mirror", lambda _: None)
    assert blobs.path(one.archive.sha256).read_bytes() == data


def test_the_first_that_fits_is_taken(tmp_path: Path) -> None:
    catalog = world(tmp_path, {"tools": BODY + X86 + BYTES + ANY + BYTES + files("x86", "any")})
    names = [
        lock_of(answer(catalog, device)).environment.archives[0].archive.name
        for device in (
            sample_device(),
            dataclasses.replace(sample_device(), os=MUSL),
            sample_device(arch="aarch64"),
        )
    ]
    assert names == ["x86.tar", "any.tar", "any.tar"]


VERSIONS = (
    BODY + 'older = ["0.9"]\n' + ANY + BYTES + f'{ARM.replace("aarch64", "any")}version = "0.9"\n'
    "unpacked_bytes = 1000\n" + files("any", "arm")
)


def test_a_range_chooses_the_version_and_with_it_the_archive(tmp_path: Path) -> None:
    old = 'component = "package/tools"\nversion = "<1"'
    lock = lock_of(answer(world(tmp_path / "old", {"tools": VERSIONS}, (old,))))
    assert [one.archive.name for one in lock.environment.archives] == ["arm.tar"]
    lock = lock_of(answer(world(tmp_path / "new", {"tools": VERSIONS})))
    assert [one.archive.name for one in lock.environment.archives] == ["any.tar"]
    new = 'component = "package/tools"\nversion = ">=1"'
    other = BODY + ANY + BYTES + files("any")
    needs = f"[[requires]]\nrole = 'tools'\n{old}\n"
    found = answer(world(tmp_path / "both", {"tools": VERSIONS, "a": needs + other}, (new, "a")))
    assert found.lock is None
    assert "b 1 requires tools>=1, but a 1 requires tools<1" in found.reasons


def test_two_packages_cannot_be_found_by_one_name(tmp_path: Path) -> None:
    one = BODY + ANY + BYTES + 'name = "data"\n' + files("any")
    other = BODY + ANY.replace("any.tar", "zip.tar") + BYTES + 'name = "data"\n' + files("zip")
    found = answer(world(tmp_path / "clash", {"one": one, "other": other}, ("one", "other")))
    assert found.lock is None
    assert "one 1 brings the folder data, but other 1 brings the folder data" in found.reasons
    # Where there is a choice, the one that goes with the rest is taken.
    packages = {"one": one, "other": other, "third": BODY + ANY + BYTES + files("any")}
    any_of = 'any_of = [{ component = "package/other" }, { component = "package/third" }]'
    lock = lock_of(answer(world(tmp_path / "way", packages, ("one", any_of))))
    assert [package.name for package in lock.environment.archives] == ["data", "third"]


def test_a_lock_without_archives_does_not_speak_of_them(tmp_path: Path) -> None:
    catalog = world(tmp_path, {"tools": TOOLS}, ())
    lock = lock_of(answer(catalog))
    assert b"archives" not in lock.canonical()
    assert parse_lockfile(lock.canonical()) == lock
    assert lock.canonical() == lock_of(answer(catalog)).canonical()


def test_unpacked_bytes_count_as_disk_each_archive_once(tmp_path: Path) -> None:
    lock = lock_of(answer(world(tmp_path, {"tools": TOOLS})))
    run = Run("Offline", "performance", "quick", {})

    def needed(archives: tuple[PackageArchive, ...]) -> int:
        environment = dataclasses.replace(lock.environment, archives=archives)
        return predict(dataclasses.replace(lock, environment=environment), run).environment_bytes

    (one,) = lock.environment.archives
    assert needed((one,)) - needed(()) == 1000
    again = dataclasses.replace(one, name="again")
    assert needed((one, again)) == needed((one,))
    # And it does not make another environment.
    bare = dataclasses.replace(lock.environment, archives=())
    assert lock.environment.key("x") == bare.key("x")


@pytest.mark.parametrize("folder", ["../lib", "/usr/lib", "a//b", "a:b", "a/./b", "", "a\x1b"])
@pytest.mark.parametrize("key", ["bin", "lib", "python"])
def test_a_lock_with_a_folder_that_leads_elsewhere_is_refused(
    tmp_path: Path, key: str, folder: str
) -> None:
    lock = lock_of(answer(world(tmp_path, {"tools": TOOLS})))
    one = dataclasses.replace(lock.environment.archives[0], **{key: (folder,)})
    bad = dataclasses.replace(
        lock, environment=dataclasses.replace(lock.environment, archives=(one,))
    )
    with pytest.raises(FleetmarkError, match="not a "):
        parse_lockfile(bad.canonical())


def test_a_lock_with_two_archives_of_one_name_is_refused(tmp_path: Path) -> None:
    lock = lock_of(answer(world(tmp_path, {"tools": TOOLS})))
    twice = lock.environment.archives * 2
    bad = dataclasses.replace(
        lock, environment=dataclasses.replace(lock.environment, archives=twice)
    )
    with pytest.raises(FleetmarkError, match="two archives have the same name"):
        parse_lockfile(bad.canonical())


WRONG = {
    "no artifact": (
        BODY + X86 + BYTES,
        "key package.archives: found artifact 'x86.tar', allowed no name: the component "
        "has no artifacts",
    ),
    "another artifact": (
        BODY + X86 + BYTES + files("arm"),
        "key package.archives: found artifact 'x86.tar', allowed arm.tar",
    ),
    "no size": (
        BODY + X86 + files("x86"),
        "key package.archives.0.unpacked_bytes: the key is required, but missing",
    ),
    "mistyped": (
        BODY + X86 + BYTES + 'bins = ["bin"]\n' + files("x86"),
        "key package.archives.0.bins: unknown key. ",
    ),
    "leads out": (
        BODY + X86 + BYTES + 'lib = ["../lib"]\n' + files("x86"),
        'key package.archives.0.lib.0: found "../lib", allowed text like ',
    ),
    "glibc": (
        BODY + ARM + BYTES + 'glibc = "3"\n' + files("arm"),
        'key package.archives.0.glibc: found "3", allowed text like ',
    ),
    "unknown version": (
        BODY + X86 + BYTES + X86 + BYTES + 'version = "7"\n' + files("x86"),
        "key package.archives: found version '7', allowed 1",
    ),
    "version without one": (
        BODY + 'older = ["0.9"]\n' + X86 + BYTES + files("x86"),
        "key package.archives: no archive for version 0.9; add one",
    ),
    "with a Python": (
        BODY
        + X86
        + BYTES
        + X86.replace("archives", "interpreters")
        + BYTES
        + 'python = "bin/python"\n'
        + files("x86"),
        "key package.archives: cannot be combined with interpreters",
    ),
}


@pytest.mark.parametrize(("text", "words"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(FleetmarkError) as caught:
        read_component(write(tmp_path, "package", "tools", text))
    assert caught.value.kind is ErrorKind.INVALID_COMPONENT
    assert words in caught.value.what
