from __future__ import annotations

import json
import re

import pytest
from packaging.utils import canonicalize_name, parse_wheel_filename

from fleetmark_catalog.load import Component, load_catalog
from fleetmark_catalog.load.wheels import ARCHES, PYTHONS, Target
from fleetmark_core.digest import is_sha256
from fleetmark_core.wheel_tags import wheel_rank
from tests.support.sample_devices import interpreter

CATALOG = load_catalog()
PACKAGES = [part for part in CATALOG.all("package") if "interpreters" not in part.body]
# What has wheels for both architectures; LoadGen's is x86_64 only.
EXPECTED = {
    "ai-edge-litert": {(python, arch) for python in PYTHONS for arch in ARCHES},
    "onnxruntime": {(python, arch) for python in PYTHONS for arch in ARCHES},
    "numpy": {(python, arch) for python in PYTHONS for arch in ARCHES},
    **{
        name: {(python, "x86_64") for python in PYTHONS}
        for name in ("mlcommons-loadgen", "mlcommons-loadgen-v5.1")
    },
    **{
        name: {(python, arch) for python in PYTHONS for arch in ARCHES}
        for name in ("opencv-python-headless", "openvino", "pillow")
    },
    "tflite-runtime": {(python, arch) for python in ("3.10", "3.11") for arch in ARCHES},
}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_a_lock_covers_what_it_should(package: Component) -> None:
    found = {
        (entry.python, entry.arch) for entry in package.wheels if entry.version == package.version
    }
    assert found == EXPECTED[package.name]
    assert {entry.version for entry in package.wheels} == set(package.versions())


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_every_locked_wheel_parses_and_fits(package: Component) -> None:
    for entry in package.wheels:
        fitting = interpreter(f"{entry.python}.1", entry.arch, glibc=39)
        names = [wheel.name for wheel in entry.wheels]
        assert names[0] == canonicalize_name(package.body["distribution"])
        assert len(names) == len(set(names))
        for wheel in entry.wheels:
            name, version, _, _ = parse_wheel_filename(wheel.filename)
            assert (name, str(version)) == (wheel.name, wheel.version)
            assert wheel_rank(wheel.filename, fitting) is not None, wheel.filename
            assert is_sha256(wheel.sha256)
            assert wheel.size_bytes > 0
        assert entry.wheels[0].version == entry.version


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_what_other_components_supply_is_not_locked_twice(package: Component) -> None:
    left_out = {
        CATALOG.get(choice.kind, choice.name).body["distribution"]
        for requirement in package.requires
        for choice in requirement.choices
    } | set(package.body.get("omit", {}))
    for entry in package.wheels:
        assert not left_out & {wheel.name for wheel in entry.wheels}


def test_locks_name_no_index() -> None:
    for package in PACKAGES:
        text = (package.folder / "wheels.json").read_text()
        assert not re.search(r"https?:|\burl\b|index", text)
        document = json.loads(text)
        used = {name for entry in document["sets"] for name in entry["wheels"]}
        assert used == set(document["wheels"])


def test_markers_are_those_of_the_target() -> None:
    assert Target("3.10", "aarch64").environment()["python_version"] == "3.10"
    assert "manylinux_2_28_aarch64" in Target("3.10", "aarch64").platforms()
