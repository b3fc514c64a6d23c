"""Which wheels fit which device, by its tags; and the error if none fits."""

from __future__ import annotations

import itertools

import pytest
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

from fleetmark_catalog.load import Catalog, Component, load_catalog
from fleetmark_catalog.resolve import expand, resolve
from fleetmark_catalog.resolve.wheel_match import builds_of, fit
from fleetmark_core.capabilities import Interpreter
from tests.support.sample_devices import HARNESS, interpreter, sample_device

CATALOG = load_catalog()
PACKAGES = CATALOG.all("package")
VERSIONS = ("3.9.2", "3.10.4", "3.11.2", "3.12.1", "3.13.0", "3.14.0")
ARCHES = ("x86_64", "aarch64", "armv7l", "riscv64")


def musl(version: str = "3.12.1", arch: str = "aarch64") -> Interpreter:
    """Alpine 3.20: musl 1.2."""
    abi = "cp" + "".join(version.split(".")[:2])
    platforms = (*(f"musllinux_1_{minor}_{arch}" for minor in (2, 1, 0)), f"linux_{arch}")
    return Interpreter("/usr/bin/python3", version, "cpython", (abi,), platforms)


def free_threaded(version: str = "3.13.0") -> Interpreter:
    """A Python without the lock: its ABI is another one."""
    usual = interpreter(version)
    return Interpreter(usual.path, version, "cpython", ("cp313t",), usual.platforms)


DEVICES = {
    f"{version} {arch} {libc}": (
        musl(version, arch) if libc == "musl" else interpreter(version, arch, int(libc))
    )
    for version, arch, libc in itertools.product(
        VERSIONS, ARCHES, ("17", "26", "27", "28", "31", "34", "35", "36", "40", "musl")
    )
}
DEVICES["free-threaded"] = free_threaded()


def may_install(filename: str, sample_device: Interpreter) -> bool:
    """As an installer decides it, by the tags alone."""
    major, minor = (int(part) for part in sample_device.version.split(".")[:2])
    can: set[Tag] = {
        *cpython_tags((major, minor), sample_device.abis, sample_device.platforms),
        *compatible_tags((major, minor), f"cp{major}{minor}", sample_device.platforms),
    }
    return bool(parse_wheel_filename(filename)[3] & can)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_a_set_is_taken_exactly_where_all_its_wheels_can_be_installed(package: Component) -> None:
    for name, asked in DEVICES.items():
        for version in package.versions():
            wheels, missing = fit(package, version, asked, {})
            minor = ".".join(asked.version.split(".")[:2])
            sets = [
                entry
                for entry in package.wheels
                if (entry.version, entry.python) == (version, minor)
                and all(may_install(wheel.filename, asked) for wheel in entry.wheels)
            ]
            builds = [
                build
                for build in builds_of(package, version)
                if build.python == minor and may_install(build.filename, asked)
            ]
            assert (wheels is not None) == bool(sets or builds), name
            assert bool(missing) == (wheels is None), name
            if wheels is not None and sets:
                assert wheels in sets, f"{name}: a wheel is never built where there is one"


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_what_is_missing_is_named_beside_what_there_is(package: Component) -> None:
    for asked in DEVICES.values():
        for version in package.versions():
            _, missing = fit(package, version, asked, {})
            if not missing:
                continue
            head, _, have = missing.partition("; it has ")
            assert head.endswith(f"has no wheel for {asked.abis[0]} on {asked.platforms[0]}")
            assert have, missing
            # What it has is not what the device could have installed.
            for part in have.split("; "):
                abis, _, places = part.partition(" on ")
                assert not (
                    set(abis.split(", ")) & {*asked.abis, "py3"}
                    and set(places.split(" and ")) & {*asked.platforms, "any"}
                ), missing


ORT = "onnxruntime 1.23.2 has no wheel for"
REPORTED = {
    "musl": (
        musl(),
        f"{ORT} cp312 on musllinux_1_2_aarch64; it has cp312 on manylinux_2_27_aarch64",
    ),
    "glibc too old": (
        interpreter("3.11.2", glibc=26),
        f"{ORT} cp311 on manylinux_2_26_x86_64; it has cp311 on manylinux_2_27_x86_64",
    ),
    "Python too new": (
        interpreter("3.14.0", "aarch64"),
        f"{ORT} cp314 on manylinux_2_36_aarch64; "
        "it has cp310, cp311, cp312, cp313 on manylinux_2_27_aarch64",
    ),
    "another architecture": (
        interpreter("3.11.2", "armv7l"),
        f"{ORT} cp311 on manylinux_2_36_armv7l; "
        "it has cp311 on manylinux_2_27_aarch64 and manylinux_2_27_x86_64",
    ),
    "another ABI": (
        free_threaded(),
        f"{ORT} cp313t on manylinux_2_36_x86_64; "
        "it has cp310, cp311, cp312, cp313 on manylinux_2_27_x86_64",
    ),
}


@pytest.mark.parametrize("case", REPORTED)
def test_the_missing_tag_is_reported(case: str) -> None:
    asked, reported = REPORTED[case]
    # Else the catalog brings a Python that fits.
    bare = Catalog(part for part in CATALOG.all() if "interpreters" not in part.body)
    configuration = expand(bare, "fashion-mnist")[0]
    resolution = resolve(bare, configuration, sample_device(asked), HARNESS)
    assert resolution.lock is None
    assert reported in resolution.reasons


def test_a_dependency_without_a_wheel_is_named_with_who_needs_it() -> None:
    package = CATALOG.get("package", "onnxruntime")
    texts = {
        fit(package, version, asked, {})[1]
        for asked in DEVICES.values()
        for version in package.versions()
    }
    needing = [text for text in texts if ", which onnxruntime" in text]
    for text in needing:
        name = text.split()[0]
        assert name != "onnxruntime"
        assert "; it has " in text


def test_a_recipe_is_named_among_what_there_is() -> None:
    old = interpreter("3.11.2", "aarch64", glibc=27)
    _, missing = fit(CATALOG.get("package", "mlcommons-loadgen"), "6.0.17", old, {})
    assert missing == (
        "mlcommons-loadgen 6.0.17 has no wheel for cp311 on manylinux_2_27_aarch64; "
        "it has cp311 on manylinux_2_28_aarch64"
    )
